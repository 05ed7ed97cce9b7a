package upstream

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"ringfence.dev/ringfence/internal/identity"
)

// leaseTries is how often a Lease is renewed in the time it lasts: two tries in
// a row may fail.
const leaseTries = 3

// certifyTime is how long a host waits for a new certificate.
const certifyTime = time.Minute

// KeepAlive renews the host's Lease, and its certificate when most of that one's
// time is over, until the context ends. What fails is tried again, and logged
// when it begins to fail and when it works again.
func (c *Client) KeepAlive(ctx context.Context) {
	ctx = quiet(ctx, c.log)
	const every = identity.LeaseSeconds * time.Second / leaseTries
	failing, renewal := false, time.Time{}
	for {
		err := c.beat(ctx, identity.LeaseSeconds)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				c.log.Warn("the control plane does not hear from this host: rules stay as they are", "problem", err)
			} else {
				c.log.Info("the control plane hears from this host again")
			}
		}
		if now := c.clock.Now(); err == nil && now.After(renewal) {
			// A certificate that cannot be renewed is tried again in an hour.
			renewal = now.Add(time.Hour)
			if err := c.renew(ctx, now); err != nil {
				c.log.Error("the host's certificate cannot be renewed", "problem", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-c.clock.After(every):
		}
	}
}

// renew asks for a new certificate if it is time.
func (c *Client) renew(ctx context.Context, now time.Time) error {
	have, err := loadPair(c.dir)
	if err != nil || now.Before(renewAt(have)) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, certifyTime)
	defer cancel()
	pair, err := certify(ctx, c.rest, c.Host)
	if err != nil {
		return fmt.Errorf("it ends at %s: %w", have.NotAfter.Format(time.DateTime), err)
	}
	if err := c.dir.Save(pairFile, pair); err != nil {
		return err
	}
	c.log.Info("the host has a new certificate")
	return nil
}

// renewAt is when four fifths of a certificate's time are over.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 5 * 4) //nolint:mnd // four fifths
}
