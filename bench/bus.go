package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/nagatha/nagatha-runtime/bus"
	"github.com/nagatha/nagatha-runtime/runtime/store"
)

const measureBus = "publish and consume"

// busCase measures messages from 64 publishers to one group on SQLite.
func busCase(n int) func(b *bed) error {
	return func(b *bed) (err error) {
		dir, err := b.fresh()
		if err != nil {
			return err
		}
		s, err := store.Open(b.ctx, store.Config{Path: filepath.Join(dir, "bus.db"), Verbs: bus.Verbs(),
			Migrations: []store.Migrations{{Name: "bus", FS: bus.Migrations()}}})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		backend := bus.NewSQL(s)
		sub := backend.Subscriber(bus.SubscriberConfig{InFlight: 256, Alone: true})
		messages, err := sub.Subscribe(b.ctx, "bench")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sub.Close()) }()
		p := backend.Publisher()
		published := make(chan error, 1)
		begin := time.Now()
		go func() {
			published <- spread(64, n, 1, func(int) error {
				return p.Publish("bench", message.NewMessage(fmt.Sprint(time.Now().UnixNano()), message.Payload(payload)))
			})
		}()
		for range n {
			select {
			case m := <-messages:
				m.Ack()
			case <-time.After(patience):
				return errors.New("the bus is stuck")
			}
		}
		b.report(measureBus, "/s", float64(n)/time.Since(begin).Seconds())
		return <-published
	}
}
