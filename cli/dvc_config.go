package cli

import (
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

// levelFlags are dvc's flags for one level of the configuration.
func levelFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.BoolFlag{Name: "global", Usage: "the user's configuration"},
		&cli.BoolFlag{Name: "system", Usage: "the machine's configuration"},
		&cli.BoolFlag{Name: "project", Usage: ".dvc/config, which is committed"},
		&cli.BoolFlag{Name: "local", Usage: ".dvc/config.local, which is not committed"},
	)
}

// levelOf is the level that the flags name, or "".
func levelOf(c *cli.Context) (dvc.Level, error) {
	var level dvc.Level
	flag := ""
	for _, l := range []struct {
		flag  string
		level dvc.Level
	}{{"global", dvc.LevelGlobal}, {"system", dvc.LevelSystem}, {"project", dvc.LevelRepo}, {"local", dvc.LevelLocal}} {
		if !c.Bool(l.flag) {
			continue
		}
		if level != "" {
			return "", usagef("only one of --%s and --%s", flag, l.flag)
		}
		flag, level = l.flag, l.level
	}
	return level, nil
}

// atLevel makes the action of a verb that works on a level.
func (e *env) atLevel(do func(c *cli.Context, r *dvc.Repo, level dvc.Level) error) cli.ActionFunc {
	return e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
		level, err := levelOf(c)
		if err != nil {
			return err
		}
		return do(c, r, level)
	})
}

func dvcConfigVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "config",
		Usage:     "Get, set, unset or list options",
		ArgsUsage: "[name] [value]",
		Description: `   mlopsctl dvc config cache.type hardlink,copy
   mlopsctl dvc config --list --show-origin
   mlopsctl dvc config --local remote.store.password "$PASSWORD"

   Values of secrets are not printed, and not written to .dvc/config, which is
   committed.`,
		Flags: levelFlags(
			&cli.BoolFlag{Name: "unset", Aliases: []string{"u"}, Usage: "take the option away"},
			&cli.BoolFlag{Name: "list", Aliases: []string{"l"}, Usage: "list all that is set"},
			&cli.BoolFlag{Name: "show-origin", Usage: "name the file, too"},
		),
		Action: e.atLevel(func(c *cli.Context, r *dvc.Repo, level dvc.Level) error {
			name, val := c.Args().Get(0), c.Args().Get(1)
			switch {
			case c.Bool("show-origin") && (c.NArg() == 2 || c.Bool("unset")):
				return usagef("--show-origin is for --list and for one option's value")
			case c.Bool("list") && (c.NArg() > 0 || c.Bool("unset")):
				return usagef("--list takes no option")
			case c.Bool("list"):
				all, err := r.Settings(level)
				if err != nil {
					return err
				}
				return e.settings(c, r, all, func(s dvc.Setting) string { return s.Name + "=" + s.Value })
			case name == "":
				return usagef("config: name is missing")
			case c.Bool("unset") && c.NArg() == 2:
				return usagef("--unset takes no value")
			case c.Bool("unset"):
				return r.Unset(c.Context, name, level)
			case c.NArg() == 2:
				if err := r.Set(c.Context, name, val, level); err != nil {
					return err
				}
				e.noteUnused(name)
				if name == "cache.type" {
					e.note("links in the workspace stay as they are until the next checkout that writes them")
				}
				return nil
			}
			s, err := r.Setting(name, level)
			if err != nil {
				return err
			}
			return e.settings(c, r, []dvc.Setting{s}, func(s dvc.Setting) string { return s.Value })
		}),
	}
}

// noteUnused says once, when an option is set, that dvc alone obeys it.
func (e *env) noteUnused(name string) {
	if dvc.Unused(name) {
		e.note("%s is kept for dvc; mlopsctl does not use it", name)
	}
}

// settings prints options, with --show-origin after their file.
func (e *env) settings(c *cli.Context, r *dvc.Repo, all []dvc.Setting, text func(dvc.Setting) string) error {
	type settingJSON struct {
		Name  string    `json:"name"`
		Value string    `json:"value"`
		Level dvc.Level `json:"level"`
		File  string    `json:"file"`
	}
	t := newTable("OPTION")
	if c.Bool("show-origin") {
		t = newTable("FILE", "OPTION")
	}
	var docs []settingJSON
	for _, s := range all {
		docs = append(docs, settingJSON(s))
		if !c.Bool("show-origin") {
			t.row(text(s))
			continue
		}
		file := s.File
		if rel, err := filepath.Rel(r.Root(), file); err == nil && filepath.IsLocal(rel) {
			file = rel
		}
		t.row(file, text(s))
	}
	return e.table(t, docs)
}

func dvcRemoteVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:  "remote",
		Usage: "Set up remotes",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "Add a remote", ArgsUsage: "<name> <url>",
				Description: "   mlopsctl dvc remote add -d store s3://bucket/project",
				Flags:       levelFlags(&cli.BoolFlag{Name: "default", Aliases: []string{"d"}, Usage: "make it the default remote"}, forceFlag("change the URL of a remote that is there")),
				Action: e.atLevel(func(c *cli.Context, r *dvc.Repo, level dvc.Level) error {
					o := dvc.AddRemoteOptions{Default: c.Bool("default"), Force: c.Bool("force"), Level: level}
					return r.AddRemote(c.Context, c.Args().Get(0), c.Args().Get(1), o)
				}),
			},
			{
				Name: "default", Usage: "Print or set the default remote", ArgsUsage: "[name]",
				Description: "   mlopsctl dvc remote default store",
				Flags:       levelFlags(&cli.BoolFlag{Name: "unset", Aliases: []string{"u"}, Usage: "have none"}),
				Action: e.atLevel(func(c *cli.Context, r *dvc.Repo, level dvc.Level) error {
					if name := c.Args().First(); name != "" || c.Bool("unset") {
						if name != "" && c.Bool("unset") {
							return usagef("--unset takes no name")
						}
						return r.SetDefaultRemote(c.Context, name, level)
					}
					s, err := r.Setting("core.remote", level)
					if err != nil {
						return err
					}
					return e.print(s.Value, map[string]string{"name": s.Value})
				}),
			},
			{
				Name: "list", Usage: "List remotes",
				Description: "   mlopsctl dvc remote list --json",
				Flags:       levelFlags(),
				Action:      e.atLevel(e.remoteList),
			},
			{
				Name: "modify", Usage: "Set or unset an option of a remote", ArgsUsage: "<name> <option> [value]",
				Description: `   mlopsctl dvc remote modify store endpointurl https://s3.example.com
   mlopsctl dvc remote modify --local store secret_access_key "$KEY"`,
				Flags: levelFlags(&cli.BoolFlag{Name: "unset", Aliases: []string{"u"}, Usage: "take the option away"}),
				Action: e.atLevel(func(c *cli.Context, r *dvc.Repo, level dvc.Level) error {
					name, option := c.Args().Get(0), c.Args().Get(1)
					if c.Bool("unset") == (c.NArg() == 3) {
						return usagef("give a value, or --unset")
					}
					full := "remote." + name + "." + option
					if c.Bool("unset") {
						return r.Unset(c.Context, full, level)
					}
					e.noteUnused(full)
					return r.ModifyRemote(c.Context, name, option, c.Args().Get(2), level)
				}),
			},
			{
				Name: "remove", Usage: "Take a remote away; its data stays", ArgsUsage: "<name>",
				Description: "   mlopsctl dvc remote remove store",
				Flags:       levelFlags(),
				Action: e.atLevel(func(c *cli.Context, r *dvc.Repo, level dvc.Level) error {
					return r.RemoveRemote(c.Context, c.Args().First(), level)
				}),
			},
			{
				Name: "rename", Usage: "Give a remote another name", ArgsUsage: "<name> <new>",
				Description: "   mlopsctl dvc remote rename store archive",
				Flags:       levelFlags(),
				Action: e.atLevel(func(c *cli.Context, r *dvc.Repo, level dvc.Level) error {
					return r.RenameRemote(c.Context, c.Args().Get(0), c.Args().Get(1), level)
				}),
			},
		},
	}
}

func (e *env) remoteList(_ *cli.Context, r *dvc.Repo, level dvc.Level) error {
	all, err := r.Remotes()
	if err != nil {
		return err
	}
	type remoteJSON struct {
		Name    string    `json:"name"`
		URL     string    `json:"url"`
		Level   dvc.Level `json:"level"`
		Default bool      `json:"default"`
	}
	t := newTable("NAME", "URL", "DEFAULT")
	t.empty = "no remotes yet"
	var docs []remoteJSON
	for _, m := range all {
		if level != "" && m.Level != level {
			continue
		}
		mark := ""
		if m.Default {
			mark = "(default)"
		}
		t.row(m.Name, m.URL, mark)
		docs = append(docs, remoteJSON(m))
	}
	return e.table(t, docs)
}
