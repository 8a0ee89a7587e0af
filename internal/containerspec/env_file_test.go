package containerspec

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestFileVariable(t *testing.T) {
	for _, c := range []struct{ name, file, want, failure string }{
		{name: "plain", file: "K='v'", want: "v"},
		{name: "among others", file: "A='1'\n\t K='v'\nB='2'\n", want: "v"},
		{name: "comments and blank lines", file: "# K='no'\n\n \t\n  # x\nK='v' # why\n", want: "v"},
		{name: "nothing is special in quotes", file: `K='$A "b" \n # = ${c}'`, want: `$A "b" \n # = ${c}`},
		{name: "lines", file: "K=' one\n\n# two\nA=\n'\nB='2'", want: " one\n\n# two\nA=\n"},
		{name: "CRLF", file: "A='1'\r\nK='v\r\nw'\r\n", want: "v\nw"},
		{name: "the first counts", file: "K='v'\nK='w'", want: "v"},
		{name: "what follows is not read", file: "K='v'\nnonsense", want: "v"},
		{name: "inside of another value", file: "A='\nK=\n'\nK='v'", want: "v"},
		{name: "absent", file: "KK='v'\nA='K'"},
		{name: "no file content"},
		{name: "empty", file: "K=''"},
		{name: "blank after =", file: "K= 'v'\nK='w'"},
		{name: "another one with a blank after =", file: "A= whatever\nK='v'", want: "v"},
		{name: "no =", file: "A='1'\nexport K", failure: "line 2: there is no '='"},
		{name: "no name", file: "='v'", failure: "line 1: there is no name before '='"},
		{name: "blank before =", file: "K ='v'", failure: "line 1: a blank before '=' is not allowed"},
		{name: "no quotes", file: "K=v", failure: "line 1: the value has to be in single quotes"},
		{name: "nothing after =", file: "K=", failure: "line 1: the value has to be in single quotes"},
		{name: "double quotes", file: `K="v"`, failure: "line 1: the value has to be in single quotes"},
		{name: "joined", file: "A='1\n2''3'\nK='v'", failure: "line 2: only a comment may follow the closing quote"},
		{name: "open", file: "A='1'\nK='v\n\n", failure: "line 2: the quote is not closed"},
		{name: "long", file: "K='v" + strings.Repeat("v", 64<<10) + "'", failure: "after line 0: bufio.Scanner: token too long"},
		{name: "long in quotes", file: "K='\n" + strings.Repeat("v", 64<<10) + "'", failure: "line 1: the quote is not closed\nbufio.Scanner: token too long"},
	} {
		got, err := fileVariable([]byte(c.file), "K")
		if failure := message(err); got != c.want || failure != c.failure {
			t.Errorf("%s: %q %q, want %q %q", c.name, got, failure, c.want, c.failure)
		}
	}
}

// What is written by the rules is read back, whatever stands around it.
func TestFileVariableReadsWhatIsWritten(t *testing.T) {
	const alphabet = "aZ0 \t\n\"#=$\\é\x00"
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		text := func(limit int) string {
			var b strings.Builder
			for range r.IntN(limit) {
				b.WriteByte(alphabet[r.IntN(len(alphabet))])
			}
			return b.String()
		}
		noise := func() string {
			return []string{"", "\n", " \t\n", "#'" + strings.ReplaceAll(text(5), "\n", "") + "\n", "  "}[r.IntN(5)]
		}
		var file strings.Builder
		values := map[string]string{}
		for i := range 1 + r.IntN(5) {
			name, value := fmt.Sprintf("N%d", i), text(12)
			values[name] = value
			file.WriteString(noise() + name + "='" + value + "'" + []string{"", "  ", " # it's", "#"}[r.IntN(4)] + "\n")
		}
		for name, want := range values {
			got, err := fileVariable([]byte(file.String()), name)
			if got != want || err != nil {
				t.Fatalf("seed %d: %s of %q is %q, %v, want %q", seed, name, file.String(), got, err, want)
			}
		}
	}
}

func FuzzFileVariable(f *testing.F) {
	for _, file := range []string{"K='v'", "A='\n'\nK= x", "K='v' #\r\nK=", "K='", "'=''"} {
		f.Add([]byte(file), "K")
	}
	location := regexp.MustCompile(`^(line [1-9][0-9]*: [a-z' =]+|after line [0-9]+: bufio.Scanner: token too long)(\nbufio.Scanner: token too long)?$`)
	f.Fuzz(func(t *testing.T, file []byte, key string) {
		value, err := fileVariable(file, key)
		if err != nil {
			if value != "" || !location.MatchString(err.Error()) {
				t.Errorf("%q of %q: %q with an error that may say what is in the file: %v", key, file, value, err)
			}
			return
		}
		lines := strings.ReplaceAll(string(file), "\r\n", "\n")
		if strings.Contains(value, "'") || value != "" && !strings.Contains(lines, key+"='"+value+"'") {
			t.Errorf("%q of %q is %q, which is not written there", key, file, value)
		}
	})
}
