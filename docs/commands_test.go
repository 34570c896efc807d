package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-data/sluice/internal/compute"
)

// named is a call of make in a page's code or in a pipeline: behind a backtick, a quote or `run:`, or a line that is no prose.
var named = regexp.MustCompile("(?m)(?:[`'\"]|run: )make ([a-z-]+)|^make ([a-z-]+)(?:$| +#| [A-Z]+=)")

func TestEveryTargetThatPagesAndPipelinesNameIsInTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, line := range regexp.MustCompile(`(?m)^([a-z][a-z -]*):`).FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, strings.Fields(line[1])...)
	}
	found := 0
	for _, pattern := range []string{"../*.md", "*.md", "adr/*.md", "../bench/*.md", "../tools/scan/*.md", "../Jenkinsfile*", "../.github/workflows/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range named.FindAllStringSubmatch(string(text), -1) {
				target := match[1] + match[2]
				// The pipeline of the switch appends on or off.
				if found++; !slices.Contains(targets, target) && target != "compute-" {
					t.Errorf("%s names make %s, which the Makefile does not have", file, target)
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("%d names found; is the pattern still right?", found)
	}
}

func TestPipelineOffersThePartsOfTheSwitch(t *testing.T) {
	text, err := os.ReadFile("../Jenkinsfile.compute")
	if err != nil {
		t.Fatal(err)
	}
	want := "['all'"
	for _, part := range compute.Parts {
		want += ", '" + part.Name + "'"
	}
	if want += "]"; !strings.Contains(string(text), want) {
		t.Errorf("the choices of PART are not %s", want)
	}
}
