package parent

import (
	"bufio"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv("PARENT_TEST_CHILD") != "" {
		gone := Gone()
		os.Stdout.WriteString("started\n")
		<-gone
		os.Stdout.WriteString("parent is gone\n")
		return
	}
	os.Exit(m.Run())
}

func TestChildLearnsThatItsParentWasKilled(t *testing.T) {
	// The shell is the parent: it starts this program again, in the background, and waits.
	shell := exec.Command("sh", "-c", `"$0" & wait`, os.Args[0])
	shell.Env = append(os.Environ(), "PARENT_TEST_CHILD=yes")
	out, err := shell.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, shell.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "started", lines.Text())

	require.NoError(t, shell.Process.Kill())

	require.True(t, lines.Scan())
	assert.Equal(t, "parent is gone", lines.Text())
	assert.Error(t, shell.Wait())
}
