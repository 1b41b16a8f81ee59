package client

import (
	"context"
	"iter"

	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/mlflow/s3store"
)

// s3 reaches artifacts at s3:// past the server, with the credentials that the
// AWS tools would use. They are looked for at its first use: most programs need
// none. Where the server names the bucket and the user does not trust the server, they
// are not used.
type s3 struct {
	store   once[*s3store.Store]
	refused error
}

func (s *s3) open(ctx context.Context) (*s3store.Store, error) {
	if s.refused != nil {
		return nil, s.refused
	}
	return s.store.get(func() (*s3store.Store, error) { return s3store.New(ctx, s3store.Options{}) })
}

func (s *s3) List(ctx context.Context, uri string) iter.Seq2[mlflow.FileInfo, error] {
	return func(yield func(mlflow.FileInfo, error) bool) {
		store, err := s.open(ctx)
		if err != nil {
			yield(mlflow.FileInfo{}, err)
			return
		}
		store.List(ctx, uri)(yield)
	}
}

func (s *s3) Open(ctx context.Context, uri string, part mlflow.Range) (*mlflow.Object, error) {
	store, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, uri, part)
}

func (s *s3) Put(ctx context.Context, uri string, src mlflow.Source) error {
	store, err := s.open(ctx)
	if err != nil {
		return err
	}
	return store.Put(ctx, uri, src)
}

func (s *s3) Delete(ctx context.Context, uri string) error {
	store, err := s.open(ctx)
	if err != nil {
		return err
	}
	return store.Delete(ctx, uri)
}
