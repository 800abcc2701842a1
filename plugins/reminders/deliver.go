package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// delivery is a line of the delivery log: how one occurrence reached one channel.
type delivery struct {
	Reminder   string   `json:"reminder"`
	Occurrence int      `json:"occurrence"`
	Channel    string   `json:"channel"`
	Status     string   `json:"status"`
	Message    string   `json:"message_id"` // of the event, and webhook-id
	Attempts   int      `json:"attempts"`
	Error      string   `json:"error"` // of the last attempt
	DueAt      sdk.Time `json:"due_at"`
	FirstAt    sdk.Time `json:"first_at"` // when it was first tried
	At         sdk.Time `json:"at"`       // of the last change
}

const (
	waiting   = "waiting"   // not tried yet
	retrying  = "retrying"  // tried, and to be tried again
	delivered = "delivered" //
	failed    = "failed"    // given up
)

// deliveryKey sorts the newest occurrence first.
func deliveryKey(d delivery) string {
	return fmt.Sprintf("delivery/%s/%09d/%s", d.Reminder, 999_999_999-d.Occurrence, d.Channel)
}

// underway is how long the line of a delivery that goes on stays at least: longer than
// any wait between two attempts.
const underway = 48 * time.Hour

// note adds a line of the delivery log to a change.
func (p *reminders) note(c *sdk.Transaction, d delivery) error {
	keep := p.keep
	if d.Status == waiting || d.Status == retrying {
		keep = max(keep, underway)
	}
	b, err := json.Marshal(d)
	c.Writes = append(c.Writes, set(deliveryKey(d), b, nil, keep, ""))
	return err
}

type deliverRequest struct {
	Reminder   string          `json:"reminder"`
	Occurrence int             `json:"occurrence"`
	Channel    string          `json:"channel"`
	Data       json.RawMessage `json:"data"`
}

// deliver sends one webhook, as Standard Webhooks has it. The engine tries it again;
// the delivery log says how it went.
func (p *reminders) deliver(ctx context.Context, host sdk.Host, in deliverRequest) (any, error) {
	task := sdk.TaskFrom(ctx)
	t, err := now(ctx, host)
	if err != nil {
		return nil, err
	}
	// Only what became due is signed, not what a client makes up.
	d, _, err := load[delivery](ctx, host, deliveryKey(delivery{Reminder: in.Reminder, Occurrence: in.Occurrence, Channel: in.Channel}))
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, sdk.Errorf(sdk.CodeNotFound, "occurrence %d of reminder %.80q has nothing to deliver by channel %.80q; reminders.get shows the deliveries of a reminder",
			in.Occurrence, in.Reminder, in.Channel)
	}
	if d.Status == delivered { // the attempt that sent it died before it could say so
		return d, nil
	}
	fault := p.send(ctx, host, in, d.Message, t)
	d.Attempts++
	d.At, d.Status, d.Error = t, delivered, ""
	if fault != nil {
		d.Status, d.Error = retrying, fault.Error()
		if !sdk.AsError(fault).Retryable || task.Attempt >= task.MaxAttempts {
			d.Status = failed
		}
	}
	var c sdk.Transaction
	if err := p.note(&c, *d); err != nil {
		return nil, err
	}
	if d.Status == failed {
		data, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		c.Events = append(c.Events, sdk.Event{Type: "reminder.delivery_failed", ID: d.Message + "_" + d.Channel, Subject: d.Reminder, Data: data})
	}
	if err := commit(ctx, host, c); err != nil {
		return nil, errors.Join(fault, err)
	}
	return d, fault
}

const (
	sendTimeout = 15 * time.Second
	statusGone  = 410 // net/http itself would make the module 2 MB larger
)

// send makes the request. Anything but a 2xx is an error: permanent where the receiver
// says that it is gone, or where the configuration has to be mended.
func (p *reminders) send(ctx context.Context, host sdk.Host, in deliverRequest, id string, now sdk.Time) error {
	ch, ok := p.channels[in.Channel]
	if !ok {
		return sdk.Permanent(fmt.Errorf("channel %q is not in config.hcl any more", in.Channel))
	}
	key, err := signingKey(ctx, host, ch)
	if err != nil {
		return sdk.Permanent(err)
	}
	var e dueEvent
	if err := json.Unmarshal(in.Data, &e); err != nil {
		return sdk.Permanent(fmt.Errorf("data: %w", err))
	}
	body, err := json.Marshal(map[string]any{"type": "reminder.due", "timestamp": e.FiredAt, "data": in.Data})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	stamp := strconv.FormatInt(int64(now)/1000, 10)
	resp, err := sdk.Fetch(ctx, host, sdk.HTTPRequest{Method: "POST", URL: ch.URL, Body: body, Timeout: sdk.Duration(sendTimeout),
		Header: map[string][]string{"Content-Type": {"application/json"}, "User-Agent": {"Nagatha-Reminders/1"},
			"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {sign(key, id, stamp, body)}}})
	switch {
	case sdk.CodeOf(err) == sdk.CodeCapabilityDenied:
		return sdk.Permanent(err)
	case err != nil:
		return err
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	_ = resp.Body.Close()
	if resp.Status >= 200 && resp.Status < 300 {
		return nil
	}
	err = sdk.Errorf(sdk.CodeUnavailable, "channel %s: the receiver answered %d %s", in.Channel, resp.Status, strings.ToValidUTF8(strings.TrimSpace(string(answer)), "?"))
	if resp.Status == statusGone {
		return sdk.Permanent(err)
	}
	if after := retryAfter(resp.Header, now); after > 0 {
		return sdk.RetryAfter(err, min(after, 24*time.Hour))
	}
	return err
}

// retryAfter reads the header of that name: seconds, or the date until which to wait.
func retryAfter(header map[string][]string, now sdk.Time) time.Duration {
	after := header["Retry-After"]
	if len(after) == 0 {
		return 0
	}
	if s, err := strconv.Atoi(after[0]); err == nil {
		return time.Duration(min(s, 1e6)) * time.Second
	}
	at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", after[0])
	if err != nil {
		return 0
	}
	return at.Sub(now.Time())
}

// sign is a webhook-signature of version 1 over id, timestamp and body.
func sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signingKey is a channel's secret: 24 to 64 bytes in base64 after "whsec_".
func signingKey(ctx context.Context, host sdk.Host, ch channel) ([]byte, error) {
	secret, err := sdk.Secret(ctx, host, ch.Secret)
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, sdk.Errorf(sdk.CodeInvalid, "secret %q is no signing secret: want \"whsec_\" and 24 to 64 bytes in base64, "+
			"as from: echo whsec_$(openssl rand -base64 32)", ch.Secret)
	}
	return key, nil
}
