package client

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// fake puts a token together, so that no scanner takes this file for a leak.
func fake(parts ...string) string { return strings.Join(parts, "") }

const alnum = "a8Zq3LmX0vBn7RtYc2WsKd5FgHj9PeUi4OoTyQwErA1"

func TestLinesThatLookLikeSecretsAreNotShown(t *testing.T) {
	lower := strings.ToLower(alnum)
	hex := "0123456789abcdef0123456789abcdef"
	for _, tt := range []struct{ name, file, line string }{
		{"AWS key ID", "a.py", "client(" + fake("AKIA", "IOSFODNN7EXAMPLE") + ")"},
		{"AWS temporary key ID", "a.txt", fake("ASIA", "Y34FZKBOKMUTVV7A")},
		{"AWS secret in a profile", "config", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
		{"AWS secret without a name", "a.py", `x = ["wJalrXUtnFEMI2K7MDENG5bPxRfiCYz3SAMPLEKEY"]`},
		{"AWS session token", "run.sh", "export AWS_SESSION_TOKEN=FwoGZXIvYXdzEBYaD"},
		{"GitHub token", "a.go", fake("ghp", "_", alnum[:36])},
		{"GitHub app token", "a.go", fake("ghs", "_", alnum[:36])},
		{"GitHub fine-grained token", "a.md", "use " + fake("github", "_pat_", alnum[:30])},
		{"GitLab token", "ci.yml", "  - curl -H " + fake("glpat", "-", alnum[:20])},
		{"Slack bot token", "a.rb", fake("xox", "b-1234567890-", alnum[:24])},
		{"Slack hook", "a.yml", fake("https://hooks.slack", ".com/services/T00/B00/XXXX")},
		{"Google API key", "a.js", fake("AIza", alnum[:35])},
		{"Google OAuth token", "a.txt", fake("ya29", ".", alnum)},
		{"service account's key ID", "sa.json", `"private_key_id": "` + hex + `",`},
		{"Stripe key", "a.py", fake("sk", "_live_", alnum[:24])},
		{"sk- key", "a.py", "Client(" + fake("sk", "-proj-", alnum[:30]) + ")"},
		{"model hub token", "a.py", "login(" + fake("hf", "_", alnum[:34]) + ")"},
		{"npm token", "a.txt", fake("npm", "_", alnum[:36])},
		{"Databricks token", "a.py", fake("dapi", hex)},
		{"SendGrid key", "a.py", fake("SG", ".", alnum[:22], ".", alnum[:43])},
		{"Vault token", "a.sh", fake("hvs", ".", alnum[:30])},
		{"JSON web token", "a.http", fake("eyJ", "hbGciOiJIUzI1NiJ9", ".", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", ".x")},
		{"Azure connection string", "a.cs", `"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc=="`},
		{"Azure signature", "a.py", "https://a.blob.core.windows.net/c?sv=2020&sig=abcdefgh%2B12345"},
		{"signed URL", "a.txt", "https://b/x?X-Amz-Signature=" + hex},
		{"URL with a password", "a.go", `dial("postgresql://mlops:hunter2@db:5432/x")`},
		{"URL with a password alone", "a.yml", "url: redis://:hunter2@cache"},
		{"URL with a token", "a.sh", "git clone https://" + lower[:24] + "@git.example.com/a"},
		{"bearer header", "a.sh", `curl -H "Authorization: Bearer abcdefgh12345678"`},
		{"basic header", "a.py", `headers={"Authorization": "Basic dXNlcjpwYXNz"}`},
		{"password in Python", "a.py", `password = "hunter2"`},
		{"password as an argument", "a.py", `connect(host="db", password='pw12', port=5432)`},
		{"typed password", "a.py", `DB_PASSWORD: str = "hunter2"`},
		{"password in Go", "a.go", `dbPassword := "hunter2"`},
		{"password in a Go literal", "a.go", `Config{Password: "hunter2"}`},
		{"secret in a raw Go string", "a.go", "const secret = `hunter2`"},
		{"password in JSON", "a.json", `"password": "hunter2",`},
		{"password in YAML", "a.yaml", "  password: hunter2"},
		{"token in YAML", "a.yaml", "- token: abcd1234"},
		{"token in TOML", "a.toml", `token = "abcd1234"`},
		{"password in a shell", "a.sh", "export DB_PASSWORD=hunter2"},
		{"password in a Dockerfile", "Dockerfile", "ENV MLFLOW_TRACKING_PASSWORD=hunter2"},
		{"password in INI", "a.ini", "mlflow_tracking_password = hunter2"},
		{"password in properties", "a.properties", "spring.datasource.password=hunter2"},
		{"fallback of a variable", "a.py", `os.getenv("API_TOKEN", "abcd1234")`},
		{"environment of a process", "a.py", `os.environ["API_KEY"] = "abcd1234"`},
		{"comparison", "a.py", `if token == "abcd1234":`},
		{"camel case", "a.ts", `const clientSecret = "abcd1234";`},
		{"dictionary", "a.rb", `:api_key => "abcd1234"`},
		{"passphrase", "a.py", `passphrase="open sesame"`},
		{"some key", "a.env.py", `FERNET_KEY = "abcd1234"`},
		{"numbered", "a.py", `password2 = "hunter2"`},
		{"flag", "a.sh", "mysql --password hunter2"},
		{"flag with =", "a.sh", "tool --api-key=abcd1234"},
		{"flag in a list", "a.py", `run(["tool", "--token", "abcd1234"])`},
		{"SQL", "a.sql", "CREATE USER a IDENTIFIED BY 'hunter2'"},
		{"netrc's words", "a.txt", "machine h login u password hunter2"},
		{"any line of .env", ".env", "COLOUR=blue"},
		{"any line of a named .env", "prod.env", "A=1"},
		{"any line of .netrc", ".netrc", "machine h"},
		{"any line of a key file", "server.key", "abc"},
		{"any line of an SSH key", "id_ed25519", "abc"},
		{"any line of credentials", "credentials", "[default]"},
		{"any line of secrets", "secrets.yaml", "a: b"},
		{"any line of Terraform's state", "x.tfstate", "a: b"},
		{"base64 in a list", "a.txt", "- " + alnum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, sign := range []string{"+", "-", " "} {
				diff := "diff --git a/x/" + tt.file + " b/x/" + tt.file + "\nindex 1..2 100644\n--- a/x/" + tt.file + "\n+++ b/x/" + tt.file + "\n@@ -1 +1 @@\n" + sign + tt.line + "\n"
				got, n := redactDiff([]byte(diff))
				require.Equal(t, 1, n, "%q was let through", tt.line)
				require.Equal(t, strings.Replace(diff, sign+tt.line, sign+redacted, 1), string(got))
			}
		})
	}
}

func TestOrdinaryLinesStay(t *testing.T) {
	for _, tt := range []struct{ file, line string }{
		{"a.py", `tokenizer = AutoTokenizer.from_pretrained("base-uncased")`},
		{"a.py", "max_tokens = 4096"},
		{"a.py", `num_tokens="4096"`},
		{"a.py", "token = read_token(path)"},
		{"a.py", "password = args.password"},
		{"a.py", `password = os.environ["DB_PASSWORD"]`},
		{"a.py", `password = ""`},
		{"a.py", `token: str | None = None`},
		{"a.go", "func login(user, password string) error {"},
		{"a.go", `pw, err := secret(ctx, name)`},
		{"a.yaml", "password: ${DB_PASSWORD}"},
		{"a.yaml", "token: {{ .Values.token }}"},
		{"a.sh", "export TOKEN=$CI_TOKEN"},
		{"a.sh", `tool --password "$PASSWORD"`},
		{"a.md", "see https://git.example.com/a/b and mail a@b.example"},
		{"a.go", `resp, err := http.Get("http://127.0.0.1:5000/version")`},
		{"a.lock", "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		{"package-lock.json", `"integrity": "sha512-` + alnum + alnum + `=="`},
		{"go.sum", "x v1 h1:" + alnum + "="},
		{"a.dvc", "- md5: 0123456789abcdef0123456789abcdef.dir"},
		{"a.go", "func TestAnExperimentIsFoundByItsNameEvenIfItWasDeleted2(t *testing.T) {"},
		{"a.py", "from src/components/user_profile/Settings2/Overview3/index import x"},
		{"a.py", "lr, beta1, beta2 = 3e-4, 0.9, 0.999"},
		{"a.py", "loss.backward()  # 12345678-1234-1234-1234-123456789abc"},
	} {
		got, n := redactDiff([]byte("diff --git a/" + tt.file + " b/" + tt.file + "\n@@ -1 +1 @@\n+" + tt.line + "\n"))
		require.Zero(t, n, "%s: %s", tt.file, tt.line)
		require.Contains(t, string(got), tt.line)
	}
}

func TestAPrivateKeyIsLeftOutWhole(t *testing.T) {
	key := func(kind string) string {
		return "+-----BEGIN " + kind + "PRIVATE KEY-----\n+MIIEpAIBAAKCAQEA\n+abc\n+-----END " + kind + "PRIVATE KEY-----\n"
	}
	for _, kind := range []string{"", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "} {
		got, n := redactDiff([]byte("diff --git a/a.txt b/a.txt\n@@ -1 +1,6 @@ def f():\n+before\n" + key(kind) + "+after\n"))
		require.Equal(t, 4, n)
		require.NotContains(t, string(got), "abc")
		require.Contains(t, string(got), "+before\n")
		require.Contains(t, string(got), "+after\n")
	}
	// The end of a key as context, its beginning out of sight.
	got, n := redactDiff([]byte("diff --git a/a b/a\n@@ -9,2 +9,3 @@ password: hunter2\n " + alnum + alnum[:21] + "\n+new\n"))
	require.Equal(t, 2, n)
	require.Equal(t, "diff --git a/a b/a\n@@ -9,2 +9,3 @@"+redacted+"\n "+redacted+"\n+new\n", string(got))
}

func FuzzRedactDiff(f *testing.F) {
	f.Add([]byte("diff --git a/x b/x\n@@ -1 +1 @@\n-password = 'x'\n+password: hunter2\n"))
	f.Add([]byte("@@"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\r\nabc"))
	f.Fuzz(func(t *testing.T, diff []byte) {
		got, n := redactDiff(diff)
		if n == 0 && !bytes.Equal(got, diff) {
			t.Errorf("%q became %q without a count", diff, got)
		}
		if bytes.Count(got, []byte(redacted)) < n {
			t.Errorf("%d lines of %q are said to be left out", n, diff)
		}
		if utf8.Valid(diff) && !utf8.Valid(got) {
			t.Errorf("%q became bad UTF-8", diff)
		}
	})
}

func BenchmarkRedactDiff(b *testing.B) {
	line := "+	require.NoError(t, err, \"what a line of code looks like, with some words\")\n"
	diff := []byte("diff --git a/a.go b/a.go\n@@ -1 +1 @@\n" + strings.Repeat(line, maxDiff/len(line)))
	b.SetBytes(int64(len(diff)))
	for b.Loop() {
		redactDiff(diff)
	}
}
