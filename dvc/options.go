package dvc

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
)

// kindOf is what the value of an option is.
type kindOf byte

const (
	isText   kindOf = iota
	isBool          // true or false
	isNumber        // 1 or more
	isPath          // relative to the file it stands in
	isSecret        // never printed, never in a committed file
)

// optionNames are the options that dvc 3.67 knows (dvc/config_schema.py), by
// section and kind; those of all kinds of remotes are one list.
var optionNames = map[string]map[kindOf]string{
	"core": {
		isText:   "remote site_cache_dir machine",
		isNumber: "checksum_jobs",
		isBool:   "interactive analytics hardlink_lock no_scm autostage experiments check_update",
	},
	"cache": {
		isText: "type shared",
		isBool: "slow_link_warning verify",
		isPath: "dir",
	},
	"remote": {
		isText: "region profile endpointurl access_key_id sse sse_kms_key_id sse_customer_algorithm acl grant_read grant_read_acp " +
			"grant_write_acp grant_full_control ssl_verify projectname user type account_name tenant_id client_id auth custom_auth_header " +
			"method bearer_token_command kerb_ticket kerberos_principal proxy_to data_proxy_target oss_key_id oss_endpoint " +
			"gdrive_client_id gdrive_service_account_user_email gdrive_trash_only gdrive_acknowledge_abuse shared",
		isBool: "verify version_aware worktree listobjects use_ssl allow_anonymous_login cache_regions gss_auth allow_agent ask_password " +
			"ask_passphrase use_https kerberos exclude_environment_credential exclude_visual_studio_code_credential " +
			"exclude_shared_token_cache_credential exclude_managed_identity_credential gdrive_use_service_account slow_link_warning",
		isNumber: "jobs checksum_jobs port timeout max_sessions read_timeout connect_timeout connection_timeout replication",
		isPath:   "url credentialpath configpath keyfile cert_path key_path gdrive_user_credentials_file gdrive_service_account_json_file_path",
		isSecret: "secret_access_key session_token sse_customer_key password passphrase account_key sas_token connection_string client_secret " +
			"token oss_key_secret gdrive_client_secret",
	},
	"db":      {isText: "url username", isSecret: "password"},
	"studio":  {isText: "url repo_url", isSecret: "token", isBool: "offline"},
	"exp":     {isText: "code data models metrics params plots live git_remote", isBool: "auto_push"},
	"parsing": {isText: "bool list"},
	"plots":   {isText: "html_template out_dir", isBool: "auto_open"},
	"hydra":   {isText: "config_dir config_name config_module plugins_path", isBool: "enabled"},
	"feature": {isBool: "machine"},
	"state":   {isText: "dir row_limit row_cleanup_quota"},
	"index":   {isText: "dir"},
}

// optionKind tells what an option of a section is; known is false for one that
// dvc does not have.
func optionKind(section, option string) (kind kindOf, known bool) {
	if m := ini.Named.FindStringSubmatch(section); m != nil {
		section = m[1]
	}
	for kind, names := range optionNames[section] {
		if slices.Contains(strings.Fields(names), option) {
			return kind, true
		}
	}
	return isText, false
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

// Unused reports whether an option (core.analytics, remote.store.replication) is
// one that dvc obeys and this package does not.
func Unused(name string) bool {
	section, option, err := splitOption(name)
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

// checkOption refuses what dvc would refuse, or would read as something else.
func checkOption(section, option, val string) error {
	name := optionName(section, option)
	kind, known := optionKind(section, option)
	switch {
	case !known:
		return fail(mlops.ErrInvalid, "option %s is not one that dvc knows", name)
	case strings.ContainsAny(val, "\r\n\x00") || strings.Contains(val, `"""`) && strings.Contains(val, `'''`):
		return fail(mlops.ErrInvalid, "option %s: the value cannot be written on one line", name)
	case kind == isBool && !strings.EqualFold(val, "true") && !strings.EqualFold(val, "false"):
		return fail(mlops.ErrInvalid, "option %s is true or false, not %q", name, val)
	case kind == isNumber:
		if n, err := strconv.Atoi(val); err != nil || n < 1 {
			return fail(mlops.ErrInvalid, "option %s is a number from 1, not %q", name, val)
		}
	case section == "cache" && option == "shared" && val != "group":
		return fail(mlops.ErrInvalid, "option %s can only be group, not %q", name, val)
	case section == "cache" && option == "type":
		for t := range strings.SplitSeq(val, ",") {
			if !slices.Contains(cache.LinkTypes, strings.ToLower(strings.TrimSpace(t))) {
				return fail(mlops.ErrInvalid, "option %s: %q is none of %s", name, t, strings.Join(cache.LinkTypes, ", "))
			}
		}
	}
	return nil
}

// optionName is how the command line names an option: core.remote,
// remote.store.url.
func optionName(section, option string) string {
	if m := ini.Named.FindStringSubmatch(section); m != nil {
		section = m[1] + "." + m[2]
	}
	return section + "." + option
}

// hasSecret reports whether a value must neither be printed nor committed.
func hasSecret(section, option, val string) bool {
	kind, _ := optionKind(section, option)
	return kind == isSecret || address.Redact(val) != val
}
