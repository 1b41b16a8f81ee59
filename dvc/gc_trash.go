package dvc

import (
	"context"
	"time"
)

// Trash is how much the trash holds, or what was taken out of it.
type Trash struct {
	Objects   int
	SizeBytes int64
}

// EmptyTrash deletes what [Repo.GC] moved into the trash longer than grace ago;
// 0 deletes all of it.
func (r *Repo) EmptyTrash(ctx context.Context, grace time.Duration) (Trash, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return Trash{}, err
	}
	defer c.end()
	t, err := c.cache.EmptyTrash(ctx, grace)
	return Trash(t), err
}

// RestoreTrash puts everything in the trash back into the cache. An object that
// the cache has again stays as the cache has it.
func (r *Repo) RestoreTrash(ctx context.Context) (Trash, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return Trash{}, err
	}
	defer c.end()
	t, err := c.cache.RestoreTrash(ctx)
	return Trash(t), err
}

// TrashSize tells how much the trash holds.
func (r *Repo) TrashSize(ctx context.Context) (Trash, error) {
	c, err := r.look()
	if err != nil {
		return Trash{}, err
	}
	t, err := c.cache.TrashSize(ctx)
	return Trash(t), err
}
