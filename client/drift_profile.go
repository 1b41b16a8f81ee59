package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mlops-integration/mlops/drift"
	"github.com/mlops-integration/mlops/drift/table"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// ProfileOptions say how data is read for a profile. The zero value reads all
// columns.
type ProfileOptions struct {
	Columns                []string
	Numerical, Categorical []string // override the types of columns
	Separator              rune     // of CSV files; 0: a comma

	// Like is a file, or a profile, whose columns' types the data has: that of a
	// window is made like the reference, with which it will be compared.
	Like string
}

// DriftProfile is what was written.
type DriftProfile struct {
	Path    string
	Rows    int
	Columns []ProfiledColumn
}

// ProfiledColumn is one column of a profile.
type ProfiledColumn struct {
	Column    string
	Type      string  // "numerical", "categorical"; empty if there is no method for it
	Reason    string  // why there is none
	Values    int     // that methods see
	Missing   int     // among the rows
	Distinct  int     // different values
	RankError float64 // of the sketch of a column with more than 100,000 numbers; 0: all are kept
}

// WriteProfile reads data, CSV or Parquet files of the same columns or profiles of
// such, and writes to path what a comparison needs of their rows together. The
// file is a reference for [Project.Drift] in their place, and gives the same
// report as long as no column has more than 100,000 numbers.
//
// A file at path that is no profile is left alone, and so is the data.
//
// Memory does not grow with the rows. The error matches [mlops.ErrInvalid] if a
// file cannot be read or has other columns, or if path cannot be a profile's.
func WriteProfile(ctx context.Context, path string, data []string, o ProfileOptions) (DriftProfile, error) {
	if err := profilePath(path, data); err != nil {
		return DriftProfile{}, err
	}
	opt := table.Options{Columns: o.Columns, Numerical: o.Numerical, Categorical: o.Categorical, Separator: o.Separator, MaxValues: drift.MaxExact}
	if o.Like != "" {
		t, err := table.ReadContext(ctx, o.Like, opt)
		if err != nil {
			return DriftProfile{}, err
		}
		opt.Like = t
	}
	var all *table.Table
	for _, file := range data {
		t, err := table.ReadContext(ctx, file, opt)
		if err != nil {
			return DriftProfile{}, err
		}
		opt.Like = t
		if all != nil {
			if t, err = table.Merge(all, t); err != nil {
				return DriftProfile{}, fmt.Errorf("%s: %w", file, err)
			}
		}
		all = t
	}
	if all == nil {
		return DriftProfile{}, invalid("a profile is of one file at least")
	}
	for _, asked := range [][]string{o.Columns, o.Numerical, o.Categorical} {
		for _, name := range asked {
			if _, ok := all.Column(name); !ok {
				return DriftProfile{}, invalid("the data has no column %q", name)
			}
		}
	}
	var out bytes.Buffer
	if err := all.WriteProfile(&out); err != nil {
		return DriftProfile{}, err
	}
	if err := atomicfile.Write(path, out.Bytes(), 0o600); err != nil { // categories may be personal
		return DriftProfile{}, err
	}
	p := DriftProfile{Path: path, Rows: all.Rows}
	for _, c := range all.Columns {
		p.Columns = append(p.Columns, ProfiledColumn{
			Column: c.Name, Type: string(c.Type), Reason: c.Reason, Values: c.Len(), Missing: c.Missing,
			Distinct: c.Distinct(), RankError: c.RankError(),
		})
	}
	return p, nil
}

// profilePath refuses a path at which a profile would replace something else, or
// would not be read as one.
func profilePath(path string, data []string) error {
	if table.IsParquet(path) {
		return invalid("the profile cannot be %s, as that is a Parquet file's name; name it .profile", path)
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range data {
		if info, err := os.Stat(file); err == nil && os.SameFile(info, there) {
			return invalid("the profile cannot be written to %s, which is the data; name another file", path)
		}
	}
	if !table.IsProfile(path) {
		return invalid("%s exists and is no profile; name another file, or remove it", path)
	}
	return nil
}
