package airflow

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Share is what stands in the description of a pool whose slots an agent sets,
// for people and for programs: "project lora (mlops: 1 of 4 slots, base 2,
// epoch 7)". It is written in the same request as the slots, so that a pool whose
// slots are others was edited by a person.
type Share struct {
	Slots int       // that the pool has from its agent
	Of    int       // the most that it may get
	Base  int       // that it has without an agent
	Epoch int       // of the agent
	Until time.Time // good until then; zero: the agent's home has the lease
}

var shareText = regexp.MustCompile(` \(mlops: (\d{1,6}) of (\d{1,6}) slots, base (\d{1,6}), epoch (\d{1,9})(?:, until (\S+))?\)$`)

// Share returns the pool's share, and whether it has one.
func (p Pool) Share() (Share, bool) {
	m := shareText.FindStringSubmatch(p.Description)
	if m == nil {
		return Share{}, false
	}
	var s Share
	for i, n := range []*int{&s.Slots, &s.Of, &s.Base, &s.Epoch} {
		*n, _ = strconv.Atoi(m[i+1]) // at most nine digits
	}
	s.Until, _ = time.Parse(time.RFC3339, m[5])
	return s, true
}

// Edited reports whether a person changed the slots that an agent had set.
func (p Pool) Edited() bool {
	s, ok := p.Share()
	return ok && s.Slots != p.Slots
}

// Shared returns the pool with this share and its slots. Deferred tasks take none,
// unless a person let them since the pool has a share.
func (p Pool) Shared(s Share) Pool {
	until := ""
	if !s.Until.IsZero() {
		until = ", until " + s.Until.UTC().Format(time.RFC3339)
	}
	if _, before := p.Share(); !before {
		p.IncludeDeferred = false
	}
	p.Description = fmt.Sprintf("%s (mlops: %d of %d slots, base %d, epoch %d%s)", shareText.ReplaceAllString(p.Description, ""), s.Slots, s.Of, s.Base, s.Epoch, until)
	p.Slots = s.Slots
	return p
}

// most is how many slots the pool can come to have.
func (p Pool) most() int {
	s, ok := p.Share()
	if !ok || p.Edited() {
		return p.Slots
	}
	return max(s.Of, p.Slots)
}

// Update changes pools in one request, and makes none: one that is not there is
// left out. The server takes slots, description and whether deferred tasks count.
//
// Airflow REST: PATCH /api/v2/pools (200 even if it fails)
func (s PoolsService) Update(ctx context.Context, pools []Pool) (BulkResult, error) {
	return s.write(ctx, "Pools.Update", pools, bulkAction{Action: BulkActionUpdate, Missing: "skip"})
}

// Restore gives the pools of an agent that is gone their base, except those that
// a person edited and those of which over is false, and returns their names.
//
// Airflow REST: GET /api/v2/pools, PATCH /api/v2/pools (200 even if it fails)
func (s PoolsService) Restore(ctx context.Context, over func(Share) bool) ([]string, error) {
	var changed []Pool
	for p, err := range s.All(ctx) {
		if err != nil {
			return nil, err
		}
		share, ok := p.Share()
		if ok && !p.Edited() && over(share) && (p.Slots != share.Base || !share.Until.IsZero()) {
			share.Slots, share.Until = share.Base, time.Time{}
			changed = append(changed, p.Shared(share))
		}
	}
	done, err := s.Update(ctx, changed)
	slices.SortFunc(done.Updated, cmp.Compare[string])
	return done.Updated, err
}

// ownDescription is how the description of a project's pool begins.
const ownDescription = "project "

// OfProject reports whether a pool was made for a project of this product: the
// others are their users' own.
func (p Pool) OfProject() bool {
	return strings.HasPrefix(p.Name, "mlops.") && strings.HasPrefix(p.Description, ownDescription)
}
