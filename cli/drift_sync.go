package cli

import "github.com/mlops-integration/mlops/client"

// snapshotRow adds a drift snapshot to the table of what waits.
func (e *env) snapshotRow(t *table, w client.WaitingSnapshot) backlogJSON {
	doc := backlogJSON{Snapshot: w.UID, Project: w.Project, Server: w.Server, Path: w.Path, Created: w.Created, Waiting: 1}
	state := warn("waits")
	switch {
	case w.SnapshotID != "":
		doc.Waiting, doc.Sent = 0, 1
		state = good("sent")
	case w.Refused != "":
		doc.Waiting, doc.Refused, doc.Refusals = 0, 1, []string{w.Refused}
		state = bad("refused: " + w.Refused)
	case w.Err != nil:
		doc.Error = w.Err.Error()
		state = bad(doc.Error)
	}
	t.row("drift of "+w.Project, doc.Waiting, doc.Sent, doc.Refused, 0, ago(w.Created), state)
	return doc
}
