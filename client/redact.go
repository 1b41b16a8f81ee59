package client

import (
	"bytes"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
)

// redacted stands for a line that is not shown.
const redacted = "[redacted: looks like a secret]"

// redactDiff replaces the lines of a diff that look like secrets, and all lines
// of files that are made to hold them. It looks at lines that were taken out
// and at context too. It would rather replace a harmless line.
//
// It does not find a secret without a form of its own that has no telling name
// beside it: a password in a list, a key that is spread over lines or written
// backwards, a random text of fewer than 32 characters.
func redactDiff(diff []byte) (out []byte, lines int) {
	var b bytes.Buffer
	var file diffFile
	for line := range bytes.Lines(diff) {
		text := strings.TrimRight(string(line), "\r\n")
		head, body := file.read(text)
		if body != "" && file.secret(body) {
			lines++
			b.WriteString(head + redacted + "\n")
			continue
		}
		b.Write(line)
	}
	return b.Bytes(), lines
}

// diffFile is the file whose lines are being read.
type diffFile struct {
	inHunk  bool
	keeper  bool // made to hold secrets
	code    bool // a bare word after "=" is a name, not a value
	private bool // within a private key
}

// read takes a line apart into what stays and what may be a secret.
func (f *diffFile) read(line string) (head, body string) {
	switch {
	case strings.HasPrefix(line, "diff --git ") || strings.HasPrefix(line, "diff --cc "):
		name := path.Base(line)
		*f = diffFile{keeper: keepers.MatchString(name), code: code.MatchString(name)}
		return "", line
	case strings.HasPrefix(line, "@@"):
		f.inHunk, f.private = true, false
		if end := strings.LastIndex(line, "@@"); end > 1 {
			return line[:end+2], line[end+2:]
		}
		return "", line
	case f.inHunk && line != "" && strings.ContainsRune("+- ", rune(line[0])):
		return line[:1], line[1:]
	}
	return "", line
}

// keepers are files that hold secrets by their nature, code is where values are
// in quotes.
var (
	keepers = regexp.MustCompile(`(?i)(^|[._-])(env|envrc|netrc|pgpass|htpasswd|npmrc|dockercfg|kubeconfig|credentials|secrets?)(\.|$)|\.(env|pem|key|p12|pfx|jks|keystore|asc|ppk|kdbx|tfvars|tfstate)$|^id_(rsa|dsa|ecdsa|ed25519)`)
	code    = regexp.MustCompile(`(?i)\.(py|pyi|go|js|mjs|jsx|ts|tsx|java|kt|scala|c|h|cc|cpp|hpp|m|mm|swift|rs|cs|rb|php|jl|r|lua)$`)
)

// forms are secrets that are known by their looks.
var forms = regexp.MustCompile(strings.Join([]string{
	`-----BEGIN [A-Z0-9 ]*PRIVATE KEY`,
	`\b(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA|AGPA|ANPA)[A-Z0-9]{16}\b`, // AWS
	`\bgh[oprsu]_[A-Za-z0-9]{20,}`, `\bgithub_pat_[A-Za-z0-9_]{20,}`,
	`\bgl(?:pat|dt|ptt|rt|oas|cbt|ft|soat|agent)-[A-Za-z0-9_-]{16,}`, // GitLab
	`\bATATT3[A-Za-z0-9_=-]{20,}`, `\bATBB[A-Za-z0-9]{20,}`,          // Atlassian
	`\bxox[abcdeoprs](?:-[A-Za-z0-9]+)+`, `\bxapp-[0-9]-[A-Za-z0-9-]+`, `hooks\.slack\.com/(?:services|workflows)/\S+`,
	`discord(?:app)?\.com/api/webhooks/\S+`, `\b[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}`,
	`\bAIza[A-Za-z0-9_-]{30,}`, `\bya29\.[A-Za-z0-9_-]{16,}`, `\bGOCSPX-[A-Za-z0-9_-]{16,}`, // Google
	`\bsk-[A-Za-z0-9_-]{16,}`, `\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}`, `\bwhsec_[A-Za-z0-9+/=]{16,}`,
	`\bhf_[A-Za-z0-9]{20,}`, `\bnpm_[A-Za-z0-9]{20,}`, `\bpypi-[A-Za-z0-9_-]{20,}`, `\bdckr_pat_[A-Za-z0-9_-]{16,}`,
	`\bdapi[a-f0-9]{32}`, `\bdo[opr]_v1_[a-f0-9]{32,}`, `\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`, `\bkey-[a-f0-9]{32}\b`,
	`\bhv[sbr]\.[A-Za-z0-9_-]{20,}`, `\bAGE-SECRET-KEY-1[A-Z0-9]{20,}`, `\bglsa_[A-Za-z0-9_]{20,}`, `\blin_api_[A-Za-z0-9]{20,}`, `\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{20,}`,
	`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`, // a JSON web token
	`(?i)(?:AccountKey|SharedAccessKey|SharedAccessSignature)\s*=`,
	`(?i)[?&;](?:sig|signature|x-amz-signature|x-goog-signature|access_token|token|api_?key|key|password|secret)=[A-Za-z0-9%+/_.~-]{8,}`,
	`(?i)\b(?:bearer|basic)\s+[A-Za-z0-9+/_.~-]{12,}`,
	`(?i)\bauthorization["']?\s*[:=,]\s*["']?[A-Za-z]*\s*[A-Za-z0-9+/_.~-]{12,}`,
	`[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"'<>{}$]*:[^\s/@"'<>{}$]+@`, // https://user:password@host
	`://[^\s/:@"'<>{}$]{16,}@`,                                    // https://token@host
	`(?i)(?:^|[\s"'])--?[a-z-]*(?:password|passwd|token|secret|api-?key)[a-z-]*(?:\s+|=|["'],\s*)["']?[^\s"'$<{-][^\s"',]{3,}`,
	`(?i)\bidentified\s+by\s+["'][^"']+["']|\bpassword\s+["'][^"'$][^"']{2,}["']`, // SQL
	`(?i)\blogin\s+\S+\s+password\s+\S+`,                                          // netrc
}, "|"))

const names = `(?:pass(?:wor[dt]|wd|phrase|code)|\bpwd|[_.-]pwd|\bpass|[_.-]pass|secret|credential|(?:api|access|private|secret|signing|encryption|auth|account|master|ssh|service|hmac|session)[_. -]?key|token|[_.-]key)`

// assigned finds a telling name and what is given to it: in quotes, or bare.
var (
	quoted = regexp.MustCompile(`(?i)` + names + `(?:[_.-][\w.-]*|id|value|text|data|str|[0-9]+)?["'\]]*\s*(?::\s*[\w.\[\]|* ]+?\s*=|:=|=>|==|!=|=|:|,)\s*(?:[a-z]{1,2})?["'` + "`" + `]([^"'` + "`" + `]*)`)
	bare   = regexp.MustCompile(`(?i)` + names + `(?:[_.-][\w.-]*|id|value|text|data|str|[0-9]+)?["']*\s*(?::=|=>|=|:)\s*([^\s"'` + "`" + `#;,]+)`)
)

// nothing is a value that names, refers or leaves empty.
var nothing = regexp.MustCompile(`(?i)^(?:none|null|nil|true|false|undefined|no|yes|string|str|bytes|int|bool|[0-9]{1,5}|\$\{[^}]*\}|\$\([^)]*\)|\$[A-Z_][A-Z0-9_]*|%[A-Z_]+%|\{+[^}]*\}+|<[^>]*>|\*+|\.{3}|x{3,})?$`)

// random finds long words without a form.
var random = regexp.MustCompile(`[A-Za-z0-9+/_=-]{32,}`)

// secret reports whether a line looks like one.
func (f *diffFile) secret(line string) bool {
	if f.inHunk && f.keeper {
		return true
	}
	if f.private {
		f.private = !strings.Contains(line, "-----END ")
		return true
	}
	if strings.Contains(line, "-----BEGIN ") && strings.Contains(line, "PRIVATE KEY") {
		f.private = !strings.Contains(line, "-----END ")
		return true
	}
	lower := strings.ToLower(line)
	if hinted(lower, formHints) && forms.MatchString(line) {
		return true
	}
	if hinted(lower, nameHints) && f.given(line) {
		return true
	}
	for _, at := range random.FindAllStringIndex(line, -1) {
		if !checksum.MatchString(line[max(0, at[0]-8):at[0]+8]) && looksRandom(line[at[0]:at[1]]) {
			return true
		}
	}
	return false
}

// given reports whether a telling name is given a value.
func (f *diffFile) given(line string) bool {
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		if v := strings.TrimSpace(m[1]); len(v) >= 4 && !nothing.MatchString(v) {
			return true
		}
	}
	if !f.code {
		for _, m := range bare.FindAllStringSubmatch(line, -1) {
			if len(m[1]) >= 4 && !nothing.MatchString(m[1]) {
				return true
			}
		}
	}
	return false
}

// The expressions are slow; a line has to hold one of these words, in lower
// case, for them to match.
var (
	nameHints = []string{"pass", "pwd", "secret", "credential", "key", "token"}
	formHints = []string{
		"begin", "akia", "asia", "abia", "acca", "aroa", "aida", "agpa", "anpa", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_", "gl", "atatt3", "atbb", "xox", "xapp-",
		"slack.com", "discord", ":aa", "aiza", "ya29.", "gocspx-", "sk-", "sk_", "rk_", "whsec_", "hf_", "npm_", "pypi-", "dckr_pat_", "dapi", "_v1_", "sg.", "key", "hv", "lin_api_",
		"shp", "eyj", "shared", "sig", "token", "secret", "pass", "bearer", "basic", "authorization", "://", "identified",
	}
)

func hinted(line string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) })
}

// checksum finds what lock files write before a hash.
var checksum = regexp.MustCompile(`(?i)sha[0-9]{1,3}[-:=]|\bh1:`)

// looksRandom tells keys from long names, paths and hexadecimal hashes: upper
// and lower case and digits, with more than 4.2 bits a character, of what may be a path 4.5.
func looksRandom(s string) bool {
	var upper, lower, digits int
	count := map[rune]int{}
	for _, r := range s {
		count[r]++
		switch {
		case r >= 'A' && r <= 'Z':
			upper++
		case r >= 'a' && r <= 'z':
			lower++
		case r >= '0' && r <= '9':
			digits++
		}
	}
	bits := 0.0
	for _, n := range count {
		p := float64(n) / float64(len(s))
		bits -= p * math.Log2(p)
	}
	least := 4.2
	if strings.Contains(s, "/") { // paths are longer than names
		least = 4.5
	}
	return upper > 1 && lower > 1 && digits > 1 && bits > least
}
