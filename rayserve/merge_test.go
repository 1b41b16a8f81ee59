package rayserve

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// strange is another user's application, with what we would never write.
func strange(rnd *rand.Rand, name string) json.RawMessage {
	forms := []string{
		`{"name":%q,"import_path":"a.b:c"}`,
		`{ "import_path" : "a.b:c", "name":%q, "route_prefix": null }`,
		`{"name":%q,"deployments":[{"name":"m","num_replicas":"auto","user_config":{"w":[0.10,1e-3]}}],"future_field":{"z":1,"a":2.0}}`,
		`{"name":%q,"args":{"big":12345678901234567890},"runtime_env":{}}`,
	}
	return json.RawMessage(fmt.Sprintf(forms[rnd.IntN(len(forms))], name))
}

func TestAMergeLeavesOthersByteForByte(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		d := details{Applications: map[string]appDetails{}}
		for i := range rnd.IntN(6) {
			n := fmt.Sprintf("app%d", i)
			a := appDetails{Config: strange(rnd, n), Source: "declarative"}
			if rnd.IntN(4) == 0 {
				a = appDetails{Config: json.RawMessage("null"), Source: "imperative"}
			}
			d.Applications[n] = a
		}
		mine := json.RawMessage(`{"name":"app2","mine":true}`)
		if rnd.IntN(3) == 0 {
			mine = nil
		}
		b, err := json.Marshal(d.declared().with("app2", mine))
		require.NoError(t, err)
		var sent desired
		require.NoError(t, json.Unmarshal(b, &sent))

		want := 0
		for n, a := range d.Applications {
			switch {
			case n == "app2":
			case a.Source == "imperative":
				require.Nil(t, sent.app(n), "an application of serve.run must not be declared")
			default:
				want++
				// encoding/json may compact, nothing else
				require.JSONEq(t, string(a.Config), string(sent.app(n)))
				require.Equal(t, compact(t, a.Config), string(sent.app(n)), "seed %d: another user's configuration was rewritten", seed)
			}
		}
		if mine != nil {
			want++
			require.Equal(t, string(mine), string(sent.app("app2")))
		} else {
			require.Nil(t, sent.app("app2"))
		}
		require.Len(t, sent.Applications, want)
	}
}

func compact(t *testing.T, raw json.RawMessage) string {
	b, err := json.Marshal(raw)
	require.NoError(t, err)
	return string(b)
}

func TestClusterSettingsOfOthersGoBackAsTheyCame(t *testing.T) {
	c, err := New(Options{URL: "http://ray.invalid", ServeURL: "http://127.0.0.1:8401", StateDir: t.TempDir()})
	require.NoError(t, err)
	var d details
	require.NoError(t, json.Unmarshal([]byte(`{"proxy_location":"EveryNode","http_options":{"host":"0.0.0.0","port":9},"grpc_options":{"port":1},"target_capacity":50,"applications":{}}`), &d))
	got, err := c.settings(d.declared())
	require.NoError(t, err)
	b, err := json.Marshal(got)
	require.NoError(t, err)
	require.Equal(t, `{"proxy_location":"EveryNode","http_options":{"host":"0.0.0.0","port":9},"grpc_options":{"port":1},"target_capacity":50,"applications":[]}`, string(b))

	require.NoError(t, json.Unmarshal([]byte(`{"controller_info":{},"proxies":{},"applications":{},"target_capacity":null}`), new(details)))
	got, err = c.settings(details{TargetCapacity: json.RawMessage("null")}.declared())
	require.NoError(t, err)
	b, err = json.Marshal(got)
	require.NoError(t, err)
	require.Equal(t, `{"proxy_location":"HeadOnly","http_options":{"host":"127.0.0.1","port":8401,"request_timeout_s":120},"applications":[]}`, string(b),
		"Ray's own default is to listen on 0.0.0.0, and null is not unset")
}

func TestANameOrRouteOfOthersIsNotTaken(t *testing.T) {
	d := details{Applications: map[string]appDetails{
		"run":   {Source: "imperative", RoutePrefix: "/r", Status: StateRunning},
		"other": {Source: "declarative", RoutePrefix: "/o", Status: StateRunning, Config: json.RawMessage(`{"name":"other","import_path":"their.app:x","route_prefix":"/o"}`)},
		"young": {Source: "declarative", Status: StateDeploying, Config: json.RawMessage(`{"name":"young","import_path":"mlops_serve.app:build","route_prefix":"/y"}`)},
		"going": {Source: "declarative", RoutePrefix: "/g", Status: StateDeleting},
	}}
	for _, tt := range []struct{ name, route, want string }{
		{"run", "/run", "serve.run"},
		{"other", "/other", "another program"},
		{"new", "/r", "belongs to application run"},
		{"new", "/y", "belongs to application young"},
		{"young", "/y", ""},
		{"new", "/g", ""},
	} {
		err := d.free("Deploy", tt.name, tt.route)
		if tt.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, tt.want)
	}
}

func TestWhatRayForgotComesBackOnce(t *testing.T) {
	a, b := json.RawMessage(`{"name":"a"}`), json.RawMessage(`{"name":"b"}`)
	newer := json.RawMessage(`{"name":"a","args":{"v":2}}`)
	k := desired{HTTPOptions: json.RawMessage(`{"port":9}`), Applications: []json.RawMessage{a, b}}
	d := details{Applications: map[string]appDetails{"a": {Config: newer}}}
	all, lost := restore(d, d.declared(), k)
	require.Equal(t, []json.RawMessage{newer, b}, all.Applications, "what runs wins over what is kept")
	require.Equal(t, []json.RawMessage{b}, lost.Applications)
	require.Equal(t, `{"port":9}`, string(all.HTTPOptions), "Serve starts as it was")
}

func TestAFailedConfigurationGetsANewNumberAndARunningOneDoesNot(t *testing.T) {
	cfg, err := AppSpec{Name: "a", ModelURI: "models:/m/1"}.config("Deploy", "gcs://_ray_pkg_00000000000000000000000000000000.zip")
	require.NoError(t, err)
	first, err := cfg.after(nil, "")
	require.NoError(t, err)
	same1, err := cfg.after(first, StateRunning)
	require.NoError(t, err)
	require.JSONEq(t, string(first), string(same1))
	again, err := cfg.after(first, StateDeployFailed)
	require.NoError(t, err)
	require.Equal(t, 1, argsOf(again).Attempt, "Ray does not try again what it gave up")
	stays, err := cfg.after(again, StateRunning)
	require.NoError(t, err)
	require.JSONEq(t, string(again), string(stays), "deploying what runs changes nothing")
	cfg.Args.ModelURI = "models:/m/2"
	other, err := cfg.after(again, StateDeployFailed)
	require.NoError(t, err)
	require.Equal(t, 0, argsOf(other).Attempt)
}

func TestAnApplicationIsCheckedBeforeAnythingIsSent(t *testing.T) {
	ok := AppSpec{Name: "wine", ModelURI: "models:/wine/3"}
	for name, tt := range map[string]struct {
		edit func(*AppSpec)
		want string
	}{
		"a blank":                 {func(a *AppSpec) { a.Name = "my wine" }, "application name"},
		"a slash":                 {func(a *AppSpec) { a.Name = "my/wine" }, "application name"},
		"no name":                 {func(a *AppSpec) { a.Name = "" }, "application name"},
		"leading dash":            {func(a *AppSpec) { a.Name = "-w" }, "application name"},
		"slash at the end":        {func(a *AppSpec) { a.RoutePrefix = "/wine/" }, "route prefix"},
		"no slash":                {func(a *AppSpec) { a.RoutePrefix = "wine" }, "route prefix"},
		"root":                    {func(a *AppSpec) { a.RoutePrefix = "/" }, "route prefix"},
		"dots":                    {func(a *AppSpec) { a.RoutePrefix = "/a/../b" }, "route prefix"},
		"Serve's own":             {func(a *AppSpec) { a.RoutePrefix = "/-/x" }, "belongs to Ray Serve"},
		"alias":                   {func(a *AppSpec) { a.ModelURI = "models:/wine@champion" }, "alias"},
		"a folder":                {func(a *AppSpec) { a.ModelURI = "/srv/model" }, "model URI"},
		"credentials in the URI":  {func(a *AppSpec) { a.TrackingURI = "http://u:p4ss@h:1/x" }, "credentials"},
		"a secret in Env":         {func(a *AppSpec) { a.Env = map[string]string{"MLFLOW_TRACKING_PASSWORD": "p4ss"} }, "looks like a secret"},
		"MLflow's address in Env": {func(a *AppSpec) { a.Env = map[string]string{"MLFLOW_TRACKING_URI": "http://h:1"} }, "set TrackingURI"},
		"negative":                {func(a *AppSpec) { a.Replicas = -1 }, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			a := ok
			tt.edit(&a)
			_, err := a.config("Deploy", "x")
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "p4ss")
		})
	}
	for _, uri := range []string{"runs:/abc/model", "models:/wine/3", "models:/m-0123"} {
		a := ok
		a.Name, a.ModelURI, a.RoutePrefix = "p.Wine_Red~20", uri, "/v1/Wine_Red~20.x"
		_, err := a.config("Deploy", "x")
		require.NoError(t, err)
	}
}
