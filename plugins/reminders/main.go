// Command reminders is a plugin that reminds: of a text at a time, once or again and
// again, by an event and by webhooks. It keeps to-dos and notes as well.
//
// A reminder is a durable timer: its record names the moment of its next occurrence,
// and a scheduled task, reminders.fire, carries the number of that timer. Whatever
// changes a reminder does so in one transaction with the timer that replaces the old
// one, which then has nothing to do. An occurrence is one transaction too: the record
// moves on, the event is published, the next timer and the webhooks are submitted.
// So nothing happens twice, whatever dies in between, and reminders.process_due only
// has to look for records whose timer was lost.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(plugin()) }

// reminders is the plugin's configuration.
type reminders struct {
	zone     *time.Location     // of reminders that name none
	channels map[string]channel // by name
	standard []string           // the channels of reminders that name none
	keep     time.Duration      // of what is over
	queue    string             // of timers and webhooks; "": the default queue
}

// channel is a webhook.
type channel struct {
	URL    string `json:"url"`
	Secret string `json:"secret"` // the name under which the secret is granted
}

const defaultKeep = 30 * 24 * time.Hour

func (p *reminders) configure(_ context.Context, config json.RawMessage) error {
	var c struct {
		Zone            string             `json:"zone"`
		Channels        map[string]channel `json:"channels"`
		DefaultChannels []string           `json:"default_channels"`
		Keep            string             `json:"keep"`
		Queue           string             `json:"queue"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	zone, err := loadZone(c.Zone)
	if err != nil {
		return err
	}
	keep := defaultKeep
	if c.Keep != "" {
		if keep, err = time.ParseDuration(c.Keep); err != nil || keep <= 0 {
			return fmt.Errorf("keep: want a duration such as \"720h\", not %q", c.Keep)
		}
	}
	for name, ch := range c.Channels {
		u, err := url.Parse(ch.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return fmt.Errorf("channels.%s.url: want a URL such as \"https://example.com/hook\", not %q", name, ch.URL)
		}
		if ch.Secret == "" {
			return fmt.Errorf("channels.%s.secret: want the name of a secret in grant.secrets, which signs the webhook", name)
		}
	}
	*p = reminders{zone: zone, channels: c.Channels, standard: c.DefaultChannels, keep: keep, queue: c.Queue}
	if err := p.checkChannels("default_channels", p.standard); err != nil {
		return err
	}
	return nil
}

// eventChannel is the reminder.due event, which every reminder has.
const eventChannel = "event"

func (p *reminders) checkChannels(field string, names []string) error {
	for _, name := range names {
		if _, ok := p.channels[name]; !ok && name != eventChannel {
			return sdk.Invalid(field, "there is no channel %.80q; config.hcl has %s", name,
				strings.Join(append(slices.Sorted(maps.Keys(p.channels)), eventChannel), ", "))
		}
	}
	return nil
}

// now is the runtime's clock, which a test can set.
func now(ctx context.Context, host sdk.Host) (sdk.Time, error) {
	b, err := host.Call(ctx, sdk.OpTimeNow, []byte("{}"))
	if err != nil {
		return 0, err
	}
	var r sdk.TimeNow
	return r.Time, json.Unmarshal(b, &r)
}

// said is the moment that "in 5 minutes" counts from: when the task was submitted, or
// was to run, however long it had to wait since.
func said(task *sdk.Task) time.Time {
	if task.Attempt == 1 && task.RunAt > task.CreatedAt {
		return task.RunAt.Time()
	}
	return task.CreatedAt.Time()
}

// newID names what a task makes: an attempt that runs again makes the same.
func newID(prefix string, task *sdk.Task) string {
	id := prefix + strings.TrimPrefix(task.ID, "tsk_")
	if task.Life > 1 {
		id += fmt.Sprintf("-%d", task.Life)
	}
	return id
}
