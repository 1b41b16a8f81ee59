package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACommandIsRecordedAsAShellTakesIt(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{[]string{"python", "train.py", "--lr", "0.1"}, "python train.py --lr 0.1"},
		{[]string{"sh", "-c", "echo 'a b' > out"}, `sh -c 'echo '\''a b'\'' > out'`},
		{[]string{"python", "-m", "train", "--tokens", "1024", "--max-tokens=2048"}, "python -m train --tokens 1024 --max-tokens=2048"},
		{[]string{"train", ""}, "train ''"},
		{[]string{"train", "--name=a\xff"}, "train '--name=a\uFFFD'"},
	} {
		require.Equal(t, tt.want, commandLine(tt.argv))
	}
}

func TestSecretsInACommandAreNotRecorded(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, argv := range [][]string{
		{"train", "--password", secret},
		{"train", "--password=" + secret},
		{"train", "--db-password=" + secret},
		{"train", "-api-key", secret},
		{"train", "--hf_token", secret},
		{"train", "--secret", secret, "more"},
		{"env", "AWS_SECRET_ACCESS_KEY=" + secret, "train"},
		{"env", "WANDB_API_KEY=" + secret, "train"},
		{"env", "PGPASSWORD=" + secret, "train"},
		{"sh", "-c", "export DB_PASSWORD=" + secret + "; train"},
		{"sh", "-c", "train\n--password " + secret},
		{"curl", "-H", "Authorization: Bearer " + secret},
		{"train", "postgresql://me:" + secret + "@host/db"},
		{"train", "hf_" + secret + "abcdefghij"},
		{"train", "sk-" + secret + "abc"},
	} {
		line := commandLine(argv)
		require.NotContains(t, line, secret)
		require.Contains(t, line, redactedArgument)
		require.True(t, strings.HasPrefix(line, argv[0]), line)
		require.NotContains(t, CommandTags(argv)["mlflow.source.name"], secret)
	}
}

func TestTheSourceOfACommandIsItsScript(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "train.py"), nil, 0o600))
	tags := CommandTags([]string{"python", "-u", "train.py", "--lr", "1"})
	require.Equal(t, "train.py", tags["mlflow.source.name"])
	require.Equal(t, "sh", CommandTags([]string{"sh", "-c", "exit"})["mlflow.source.name"])
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, here, tags["mlops.cwd"])
	require.LessOrEqual(t, len(CommandTags([]string{"train", strings.Repeat("é", 9000)})["mlops.command"]), 5000, "MLflow's limit for a tag's value of old")
}
