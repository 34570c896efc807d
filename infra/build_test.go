package infra

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
)

// module writes a module with functions to a new folder; files are by path below it.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module example.com/functions\n\ngo 1.25.0\n"
	for name, content := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func greeting(text string) map[string]string {
	return map[string]string{
		"lambdas/say-hello/main.go": "package main\n\nimport \"example.com/functions/shared\"\n\nfunc main() { println(shared.Name, \"" + text + "\") }\n",
		"lambdas/say-bye/main.go":   "package main\n\nimport \"example.com/functions/shared\"\n\nfunc main() { println(shared.Name, \"bye\") }\n",
		"shared/shared.go":          "package shared\n\nconst Name = \"somebody\"\n",
	}
}

func build(t *testing.T, root string) map[string][]byte {
	t.Helper()
	packages, err := BuildFunctions(context.Background(), BuildArgs{Root: root, Folder: "lambdas", Names: []string{"say-hello", "say-bye"}, Architecture: "arm64", Out: filepath.Join(root, "out")})
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{}
	for name, file := range packages {
		if contents[name], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return contents
}

func TestSameSourceGivesTheSamePackageFromAnotherFolderAtAnotherTime(t *testing.T) {
	one, other := module(t, greeting("hello")), module(t, greeting("hello"))
	longAgo := time.Date(2001, time.February, 3, 4, 5, 6, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(other, "lambdas/say-hello/main.go"), longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	first := build(t, one)
	t.Setenv("GOFLAGS", "-ldflags=-w")
	t.Setenv("GOARM64", "v9.0")
	second := build(t, other)
	for name := range first {
		if !bytes.Equal(first[name], second[name]) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestChangedStringChangesExactlyItsFunction(t *testing.T) {
	before, after := build(t, module(t, greeting("hello"))), build(t, module(t, greeting("good day")))
	if bytes.Equal(before["say-hello"], after["say-hello"]) {
		t.Error("say-hello is unchanged")
	}
	if !bytes.Equal(before["say-bye"], after["say-bye"]) {
		t.Error("say-bye changed")
	}
}

func TestEveryFunctionThatDoesNotCompileIsNamedWithTheCompilersMessage(t *testing.T) {
	root := module(t, map[string]string{
		"lambdas/say-hello/main.go": "package main\n\nfunc main() { println(nobody) }\n",
		"lambdas/say-bye/main.go":   "package main\n\nfunc main() { return 1 }\n",
	})
	_, err := BuildFunctions(context.Background(), BuildArgs{Root: root, Folder: "lambdas", Names: []string{"say-hello", "say-bye"}, Architecture: "x86_64", Out: t.TempDir()})
	if err == nil {
		t.Fatal("it compiled")
	}
	for _, part := range []string{"function say-hello does not compile", "lambdas/say-hello/main.go:3:23: undefined: nobody", "function say-bye does not compile", "too many return values"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in:\n%v", part, err)
		}
	}
}

func TestWhatCommandAndFunctionsShareIsCompiledOnce(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if command := "CGO_ENABLED=0 go build " + strings.Join(compilerFlags, " ") + " "; !strings.Contains(string(text), "\t"+command) {
		t.Errorf("the Makefile does not build the command as functions are built: %s", command)
	}
}

// TestModulesOfTheCheckoutAgreeOnVersions keeps the compiler from making a package of another module once for the program, once for the
// CLI and once for the plugins, with all that is made from it: more than a third of a first build.
func TestModulesOfTheCheckoutAgreeOnVersions(t *testing.T) {
	versions := map[string]map[string][]string{} // by module and version: the files that ask for it
	for _, file := range []string{"../go.mod", "../tools/go.mod", "../local/plugins/go.mod"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		module, err := modfile.Parse(file, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range module.Require {
			if versions[r.Mod.Path] == nil {
				versions[r.Mod.Path] = map[string][]string{}
			}
			versions[r.Mod.Path][r.Mod.Version] = append(versions[r.Mod.Path][r.Mod.Version], file)
		}
	}
	if len(versions["google.golang.org/grpc"]) == 0 {
		t.Fatal("no go.mod was read")
	}
	for path, found := range versions {
		if len(found) > 1 {
			t.Errorf("%s: %v; go get the newest of them in each module", path, found)
		}
	}
}

func TestUnknownArchitectureIsRefused(t *testing.T) {
	_, err := BuildFunctions(context.Background(), BuildArgs{Root: t.TempDir(), Architecture: "sparc"})
	if err == nil || err.Error() != `architecture "sparc": take arm64 or x86_64` {
		t.Error(err)
	}
}

func TestPythonPackageLeavesTestsOut(t *testing.T) {
	root := module(t, map[string]string{"jobs/__init__.py": "", "jobs/records/main.py": "x = 1\n", "jobs/records/tests/test_main.py": "", "jobs/records/notes.md": "", "other/main.py": ""})
	files, err := pythonPackage(root, "jobs")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range files {
		names = append(names, f.name)
	}
	if got := strings.Join(names, " "); got != "jobs/__init__.py jobs/records/main.py" {
		t.Errorf("packed %s", got)
	}
}

func TestUnchangedFileIsNotWrittenAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a", "b.zip")
	if err := replaceFile(file, []byte("content")); err != nil {
		t.Fatal(err)
	}
	longAgo := time.Date(2001, time.February, 3, 4, 5, 6, 0, time.UTC)
	if err := os.Chtimes(file, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(file, []byte("content")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || !info.ModTime().Equal(longAgo) {
		t.Errorf("written again: %v %v", info.ModTime(), err)
	}
}
