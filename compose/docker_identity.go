package compose

import "cmp"

// name is the project under which the engine keeps this stack apart from all
// others, its volumes included. It is that of the home's ID; a home that had
// containers before it had an ID keeps the name that its path gave them.
func (d *docker) name() string {
	return cmp.Or(readIdentity(d.home).Containers, d.record.Project, "mlops-"+pathSum(d.home)[:8])
}

// judge returns an error that matches [mlops.ErrConflict] for a copy of a home:
// it would work on, or stop, the containers and volumes of its original.
func (d *docker) judge() error {
	own := readIdentity(d.home)
	if own.Containers == "" || !isHome(own.Home, own.ID, d.home) {
		return nil
	}
	return conflict("%s is a copy of %s, which owns the containers and volumes of %s; to use those: MLOPS_HOME=%s mlopsctl start; to give the copy some of its own, empty ones: rm -r %s && mlopsctl start --runtime docker",
		d.home, own.Home, own.Containers, quoted(own.Home), quoted(identityPath(d.home), dockerRecordPath(d.home)))
}

// claim settles the name of the project before containers or volumes are made
// under it.
func (d *docker) claim() error {
	if err := d.judge(); err != nil {
		return err
	}
	own, err := ensureIdentity(d.home)
	if err != nil {
		return err
	}
	before := d.record.Project != "" || len(d.record.Ports) > 0 || databasesOf(d.home, "").lived()
	if own.Containers == "" && before {
		own.Containers = d.name()
	}
	own.Containers, own.Home = cmp.Or(own.Containers, "mlops-"+own.ID[:8]), d.home
	d.record.Project = own.Containers
	return own.write(d.home)
}
