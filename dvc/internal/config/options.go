package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
)

// Kind is what the value of an option is.
type Kind byte

const (
	Text   Kind = iota
	Bool        // true or false
	Number      // 1 or more
	Path        // relative to the file it stands in
	Secret      // never printed, never in a committed file
)

// optionNames are the options that dvc 3.67 knows (dvc/config_schema.py), by
// section and kind; those of all kinds of remotes are one list.
var optionNames = map[string]map[Kind]string{
	"core": {
		Text:   "remote site_cache_dir machine",
		Number: "checksum_jobs",
		Bool:   "interactive analytics hardlink_lock no_scm autostage experiments check_update",
	},
	"cache": {
		Text: "type shared",
		Bool: "slow_link_warning verify",
		Path: "dir",
	},
	"remote": {
		Text: "region profile endpointurl access_key_id sse sse_kms_key_id sse_customer_algorithm acl grant_read grant_read_acp " +
			"grant_write_acp grant_full_control ssl_verify projectname user type account_name tenant_id client_id auth custom_auth_header " +
			"method bearer_token_command kerb_ticket kerberos_principal proxy_to data_proxy_target oss_key_id oss_endpoint " +
			"gdrive_client_id gdrive_service_account_user_email gdrive_trash_only gdrive_acknowledge_abuse shared",
		Bool: "verify version_aware worktree listobjects use_ssl allow_anonymous_login cache_regions gss_auth allow_agent ask_password " +
			"ask_passphrase use_https kerberos exclude_environment_credential exclude_visual_studio_code_credential " +
			"exclude_shared_token_cache_credential exclude_managed_identity_credential gdrive_use_service_account slow_link_warning",
		Number: "jobs checksum_jobs port timeout max_sessions read_timeout connect_timeout connection_timeout replication",
		Path:   "url credentialpath configpath keyfile cert_path key_path gdrive_user_credentials_file gdrive_service_account_json_file_path",
		Secret: "secret_access_key session_token sse_customer_key password passphrase account_key sas_token connection_string client_secret " +
			"token oss_key_secret gdrive_client_secret",
	},
	"db":      {Text: "url username", Secret: "password"},
	"studio":  {Text: "url repo_url", Secret: "token", Bool: "offline"},
	"exp":     {Text: "code data models metrics params plots live git_remote", Bool: "auto_push"},
	"parsing": {Text: "bool list"},
	"plots":   {Text: "html_template out_dir", Bool: "auto_open"},
	"hydra":   {Text: "config_dir config_name config_module plugins_path", Bool: "enabled"},
	"feature": {Bool: "machine"},
	"state":   {Text: "dir row_limit row_cleanup_quota"},
	"index":   {Text: "dir"},
}

// KindOf tells what an option of a section is; known is false for one that
// dvc does not have.
func KindOf(section, option string) (kind Kind, known bool) {
	if m := ini.Named.FindStringSubmatch(section); m != nil {
		section = m[1]
	}
	for kind, names := range optionNames[section] {
		if slices.Contains(strings.Fields(names), option) {
			return kind, true
		}
	}
	return Text, false
}

// unused are options that dvc obeys and that nothing here reads; "" is all of a
// section. Sections of verbs that are dvc's alone are among them.
var unused = map[string]string{
	"core":  "machine interactive analytics experiments check_update",
	"cache": "slow_link_warning",
	"remote": "cache_regions listobjects projectname max_sessions type bearer_token_command kerberos kerb_ticket kerberos_principal " +
		"proxy_to data_proxy_target use_https replication shared slow_link_warning cert_path key_path token " +
		"exclude_environment_credential exclude_visual_studio_code_credential exclude_shared_token_cache_credential exclude_managed_identity_credential",
	"db": "", "studio": "", "exp": "", "parsing": "", "plots": "", "hydra": "", "feature": "", "state": "", "index": "",
}

// Unused reports whether an option is one that dvc obeys and nothing here reads.
func Unused(name string) bool {
	section, option, err := Split(name)
	if err != nil {
		return false
	}
	if m := ini.Named.FindStringSubmatch(section); m != nil {
		section = m[1]
	}
	names, known := unused[section]
	return known && (names == "" || slices.Contains(strings.Fields(names), option)) ||
		strings.HasPrefix(option, "gdrive_") || strings.HasPrefix(option, "oss_")
}

// Check refuses what dvc would refuse, or would read as something else.
func Check(section, option, val string) error {
	name := Name(section, option)
	kind, known := KindOf(section, option)
	switch {
	case !known:
		return fault.New(mlops.ErrInvalid, "option %s is not one that dvc knows", name)
	case strings.ContainsAny(val, "\r\n\x00") || strings.Contains(val, `"""`) && strings.Contains(val, `'''`):
		return fault.New(mlops.ErrInvalid, "option %s: the value cannot be written on one line", name)
	case kind == Bool && !strings.EqualFold(val, "true") && !strings.EqualFold(val, "false"):
		return fault.New(mlops.ErrInvalid, "option %s is true or false, not %q", name, val)
	case kind == Number:
		if n, err := strconv.Atoi(val); err != nil || n < 1 {
			return fault.New(mlops.ErrInvalid, "option %s is a number from 1, not %q", name, val)
		}
	case section == "cache" && option == "shared" && val != "group":
		return fault.New(mlops.ErrInvalid, "option %s can only be group, not %q", name, val)
	case section == "cache" && option == "type":
		for t := range strings.SplitSeq(val, ",") {
			if !slices.Contains(cache.LinkTypes, strings.ToLower(strings.TrimSpace(t))) {
				return fault.New(mlops.ErrInvalid, "option %s: %q is none of %s", name, t, strings.Join(cache.LinkTypes, ", "))
			}
		}
	}
	return nil
}

// Split takes a name apart: core.remote, remote.store.url.
func Split(name string) (section, option string, err error) {
	bad := fault.New(mlops.ErrInvalid, "option %q; want section.option or remote.name.option", name)
	parts := strings.Split(strings.ToLower(name), ".")
	switch {
	case slices.Contains(parts, ""):
		return "", "", bad
	case len(parts) == 2:
		return parts[0], parts[1], nil
	case len(parts) == 3 && (parts[0] == "remote" || parts[0] == "db"):
		if err := CheckRemote(parts[1]); err != nil {
			return "", "", err
		}
		return parts[0] + ` "` + parts[1] + `"`, parts[2], nil
	}
	return "", "", bad
}

// Name is how the command line names an option: core.remote,
// remote.store.url.
func Name(section, option string) string {
	if m := ini.Named.FindStringSubmatch(section); m != nil {
		section = m[1] + "." + m[2]
	}
	return section + "." + option
}

// HoldsSecret reports whether a value must neither be printed nor committed.
func HoldsSecret(section, option, val string) bool {
	kind, _ := KindOf(section, option)
	return kind == Secret || address.Redact(val) != val
}

// Public is a value that may be printed.
func (v Value) Public(section, option string) string {
	kind, _ := KindOf(section, option)
	switch text := v.Text(); {
	case kind == Secret:
		return mlops.Redacted
	case kind == Path:
		return address.Redact(v.Resolve())
	default:
		return address.Redact(text)
	}
}

// CheckRemote refuses names that the configuration's syntax cannot hold.
func CheckRemote(name string) error {
	if name == "" || strings.ContainsAny(name, "\"'[]#\r\n\x00") || strings.TrimSpace(name) != name {
		return fault.New(mlops.ErrInvalid, "remote name %q", name)
	}
	return nil
}
