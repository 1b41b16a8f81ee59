package mlflow

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// WebhookEvent is what a webhook is told about: "registered_model.created",
// "model_version.created", "model_version_tag.set", "model_version_tag.deleted",
// "model_version_alias.created", "model_version_alias.deleted",
// "prompt.created", "prompt_version.created", "prompt_tag.set", "prompt_alias.created" …
type WebhookEvent string

// MarshalJSON writes MLflow's form of an event.
func (e WebhookEvent) MarshalJSON() ([]byte, error) {
	entity, action, ok := strings.Cut(string(e), ".")
	if !ok {
		return nil, fmt.Errorf("webhook event %q: want entity.action, as in model_version.created", string(e))
	}
	return json.Marshal(map[string]string{"entity": strings.ToUpper(entity), "action": strings.ToUpper(action)})
}

// UnmarshalJSON reads MLflow's form of an event.
func (e *WebhookEvent) UnmarshalJSON(b []byte) error {
	var w struct{ Entity, Action string }
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*e = WebhookEvent(strings.ToLower(w.Entity + "." + w.Action))
	return nil
}

// WebhookStatus says whether a webhook is called.
type WebhookStatus string

// The statuses of a webhook.
const (
	WebhookActive   WebhookStatus = "ACTIVE"
	WebhookDisabled WebhookStatus = "DISABLED"
)

// Webhook is an address that the server calls on events.
type Webhook struct {
	ID          string
	Name        string
	Description string
	URL         string
	Events      []WebhookEvent
	Status      WebhookStatus
	Created     time.Time
	Updated     time.Time
}

// UnmarshalJSON reads MLflow's form of a webhook.
func (w *Webhook) UnmarshalJSON(b []byte) error {
	var v struct {
		ID          string         `json:"webhook_id"`
		Name        string         `json:"name"`
		Description string         `json:"description"`
		URL         string         `json:"url"`
		Events      []WebhookEvent `json:"events"`
		Status      WebhookStatus  `json:"status"`
		Created     wireInt        `json:"creation_timestamp"`
		Updated     wireInt        `json:"last_updated_timestamp"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*w = Webhook{v.ID, v.Name, v.Description, v.URL, v.Events, v.Status, millis(v.Created), millis(v.Updated)}
	return nil
}

type webhookReply struct {
	Webhook Webhook `json:"webhook"`
}

// WebhookOptions are what a new webhook may have.
type WebhookOptions struct {
	Description string
	Secret      mlops.Secret // signs deliveries, see [ReadWebhook]; empty: they are not signed
	Disabled    bool         // made, but told of nothing yet
}

type wireWebhook struct {
	Name        string         `json:"name,omitempty"`
	Description *string        `json:"description,omitempty"`
	URL         string         `json:"url,omitempty"`
	Events      []WebhookEvent `json:"events,omitempty"`
	Secret      string         `json:"secret,omitempty"`
	Status      WebhookStatus  `json:"status,omitempty"`
}

// Create has the server tell address of events. MLflow wants https and an
// address that is not private, unless its operator allowed others by
// MLFLOW_WEBHOOK_ALLOWED_SCHEMES and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS. An
// answer that got lost does not lead to a second one: a webhook of this name for
// this address and these events that was not there before is the one that was made.
//
// MLflow REST: POST /api/2.0/mlflow/webhooks
func (s WebhooksService) Create(ctx context.Context, name, address string, events []WebhookEvent, opt WebhookOptions) (Webhook, error) {
	body := wireWebhook{Name: name, URL: address, Events: events, Secret: string(opt.Secret), Status: WebhookActive}
	if opt.Description != "" {
		body.Description = &opt.Description
	}
	if opt.Disabled {
		body.Status = WebhookDisabled
	}
	before := map[string]bool{}
	for w, err := range s.All(ctx) {
		if errors.Is(err, mlops.ErrForbidden) {
			break // one may make webhooks and not list them
		}
		if err != nil {
			return Webhook{}, err
		}
		before[w.ID] = true
	}
	return once(ctx, s.c, func() (Webhook, error) {
		out, err := sendOnce[webhookReply](ctx, s.c, "Webhooks.Create", "POST", "webhooks", body)
		return out.Webhook, err
	}, func() (Webhook, bool, error) {
		return firstOf(s.All(ctx), func(w Webhook) bool {
			return !before[w.ID] && w.Name == name && w.URL == address && w.Status == body.Status && slices.Equal(w.Events, events)
		})
	})
}

// Get returns a webhook. Its secret stays with the server.
//
// MLflow REST: GET /api/2.0/mlflow/webhooks/{webhook_id}
func (s WebhooksService) Get(ctx context.Context, id string) (Webhook, error) {
	out, err := get[webhookReply](ctx, s.c, "Webhooks.Get", "webhooks/"+url.PathEscape(id), nil)
	return out.Webhook, err
}

// All lists all webhooks.
//
// MLflow REST: GET /api/2.0/mlflow/webhooks
func (s WebhooksService) All(ctx context.Context) iter.Seq2[Webhook, error] {
	return pages(func(token string) ([]Webhook, string, error) {
		out, err := get[struct {
			Webhooks []Webhook `json:"webhooks"`
			Next     string    `json:"next_page_token"`
		}](ctx, s.c, "Webhooks.All", "webhooks", page(url.Values{"max_results": {"100"}}, token))
		return out.Webhooks, out.Next, err
	})
}

// WebhookUpdate is what may change about a webhook. Zero fields stay as they are.
type WebhookUpdate struct {
	Name        string
	Description *string // nil leaves it; new("") removes it
	URL         string
	Events      []WebhookEvent
	Secret      mlops.Secret
	Status      WebhookStatus
}

// Update changes a webhook.
//
// MLflow REST: PATCH /api/2.0/mlflow/webhooks/{webhook_id}
func (s WebhooksService) Update(ctx context.Context, id string, u WebhookUpdate) (Webhook, error) {
	out, err := send[webhookReply](ctx, s.c, "Webhooks.Update", "PATCH", "webhooks/"+url.PathEscape(id),
		wireWebhook{u.Name, u.Description, u.URL, u.Events, string(u.Secret), u.Status})
	return out.Webhook, err
}

// Delete deletes a webhook.
//
// MLflow REST: DELETE /api/2.0/mlflow/webhooks/{webhook_id}
func (s WebhooksService) Delete(ctx context.Context, id string) error {
	return remove(ctx, s.c, func() error {
		_, err := sendOnce[struct{}](ctx, s.c, "Webhooks.Delete", "DELETE", "webhooks/"+url.PathEscape(id), nil)
		return err
	})
}

// WebhookTest is how an address answered a test.
type WebhookTest struct {
	OK     bool   `json:"success"`
	Status int    `json:"response_status"` // HTTP status; 0 when no answer came
	Body   string `json:"response_body"`
	Error  string `json:"error_message"`
}

// Test has the server deliver an example of an event, of the webhook's
// first one if event is empty, and tells how the address answered. That the
// address answered badly is no error.
//
// MLflow REST: POST /api/2.0/mlflow/webhooks/{webhook_id}/test
func (s WebhooksService) Test(ctx context.Context, id string, event WebhookEvent) (WebhookTest, error) {
	body := map[string]any{}
	if event != "" {
		body["event"] = event
	}
	out, err := sendOnce[struct{ Result WebhookTest }](ctx, s.c, "Webhooks.Test", "POST", "webhooks/"+url.PathEscape(id)+"/test", body)
	return out.Result, err
}

// WebhookDelivery is what the server posts to a webhook's address.
type WebhookDelivery struct {
	ID        string // the same when a delivery is repeated
	Event     WebhookEvent
	Time      time.Time
	Workspace string          // empty on a server without workspaces
	Data      json.RawMessage // {"name": "wine", "version": "3", …}
}

// The limits within which a delivery is taken.
const (
	webhookBody = 1 << 20
	webhookAge  = 5 * time.Minute
)

// ReadWebhook reads a delivery in an HTTP handler and checks that it was signed
// with secret, less than five minutes ago: everything else is an error that
// matches [mlops.ErrForbidden]. With an empty secret it refuses all, because
// anyone can post to an address.
//
// MLflow may deliver more than once: remember the IDs where that matters.
//
// Source: mlflow/webhooks/delivery.py. X-MLflow-Signature is "v1," and the
// base64 of HMAC-SHA256 over "<delivery ID>.<timestamp>.<body>".
func ReadWebhook(r *http.Request, secret mlops.Secret) (WebhookDelivery, error) {
	return readWebhook(r, secret, time.Now())
}

func readWebhook(r *http.Request, secret mlops.Secret, now time.Time) (WebhookDelivery, error) {
	const op = "ReadWebhook"
	refuse := func(format string, args ...any) (WebhookDelivery, error) {
		return WebhookDelivery{}, &mlops.Error{Kind: mlops.ErrForbidden, Service: "mlflow", Op: op, Message: fmt.Sprintf(format, args...)}
	}
	if secret == "" {
		return refuse("no secret is set")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, webhookBody+1))
	switch {
	case err != nil:
		return WebhookDelivery{}, err
	case len(body) > webhookBody:
		return WebhookDelivery{}, invalid(op, "the delivery is larger than %d bytes", webhookBody)
	}
	id, stamp := r.Header.Get("X-MLflow-Delivery-Id"), r.Header.Get("X-MLflow-Timestamp")
	version, sum, _ := strings.Cut(r.Header.Get("X-MLflow-Signature"), ",")
	given, err := base64.StdEncoding.DecodeString(sum)
	if version != "v1" || err != nil || id == "" {
		return refuse("the delivery is not signed as MLflow signs")
	}
	mac := hmac.New(sha256.New, []byte(string(secret)))
	_, _ = mac.Write(bytes.Join([][]byte{[]byte(id), []byte(stamp), body}, []byte(".")))
	if !hmac.Equal(mac.Sum(nil), given) {
		return refuse("the signature does not match: another secret, or not MLflow")
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if age := now.Sub(time.Unix(seconds, 0)); err != nil || age > webhookAge || age < -webhookAge {
		return refuse("the delivery was signed at %q, more than %v from now", stamp, webhookAge)
	}
	var w struct {
		Entity    string          `json:"entity"`
		Action    string          `json:"action"`
		Time      time.Time       `json:"timestamp"`
		Workspace string          `json:"workspace"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return WebhookDelivery{}, invalid(op, "the delivery is not JSON: %v", err)
	}
	return WebhookDelivery{id, WebhookEvent(w.Entity + "." + w.Action), w.Time.UTC(), w.Workspace, w.Data}, nil
}
