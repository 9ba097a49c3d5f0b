// Command oracle writes ../corpus.json: what the Go library says about hostile references.
//
//	go run . >../corpus.json
//	go run . -seed 7 -n 200000 >/tmp/fuzz.json    # for a longer search; TIDEGATE_REFERENCE_CORPUS=/tmp/fuzz.json pytest ...
//
// The file has four members. words: shorthands that stand in rows for long texts, as {name}. errors: the library's
// messages, without the text they quote. rows: [text, domain, path, tag, digest, string, familiar] of what it accepts
// ("" where there is none), or [text, index into errors]. library: its version.
package main

import (
	"bufio"
	"bytes"
	_ "crypto/sha256" // a digest is accepted only where its hash is linked in: containerd and kubelet link these
	_ "crypto/sha512" // covers sha384
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"sort"
	"strings"

	"github.com/distribution/reference"
)

var words = map[string]string{
	"256":  "sha256:" + strings.Repeat("0123456789abcdef", 4),
	"384":  "sha384:" + strings.Repeat("0123456789abcdef", 6),
	"512":  "sha512:" + strings.Repeat("0123456789abcdef", 8),
	"hex":  strings.Repeat("f0", 32),
	"a246": strings.Repeat("a", 246),
	"a255": strings.Repeat("a", 255),
	"t128": strings.Repeat("T", 128),
	"h63":  strings.Repeat("h", 63),
}

var (
	hosts = []string{
		"", "", "", "", "localhost", "docker.io", "index.docker.io", "registry-1.docker.io", "Docker.io", "INDEX.docker.io",
		"example.com", "reg.example.com", "myregistry.azurecr.io", "127.0.0.1", "10.0.0.1", "host", "Host", "HOST", "h",
		"a-b.c", "a--b.c", "-a.b", "a-.b", "a..b", ".a", "a.", "my_host.com", "my__host.com", "my___host.com", "my_host",
		"_host.com", "host_.com", "My_host", "[::1]", "[2001:db8::1]", "[fe80::1%eth0]", "[::ffff:10.0.0.1]", "[]", "[ABC]", "[abc]",
		"[::1", "::1", "::1]", "xn--bcher-kva.de", "bücher.de", "{h63}.{h63}.{h63}.{h63}.{h63}", "user@host.com", "https:", "LOCALHOST", "Localhost",
	}
	ports = []string{"", "", "", "", ":5000", ":443", ":0", ":99999999999", ":", ":http", ":-1", ":05", ":5000:5000", ":٣"}
	paths = []string{
		"x", "nginx", "library/nginx", "library", "library/library", "library/library/x", "team/app", "a/b/c/d", "a.b", "a_b", "a__b", "a___b",
		"a-b", "a---b", "a.-b", "a._b", "a-_b", "a..b", ".a", "a.", "_a", "a_", "-a", "a-", "a//b", "/a", "a/", "", "A", "team/App", "aPp",
		"{a255}", "{a255}a", "{a246}", "{a246}a", "{a246}aa", "b/{a255}", "{hex}", "library/{hex}", "sha256", "localhost", "localhost/x",
		"example.com", "example.com/x", "my_host.com/x", "docker.io", "docker.io/x", "index.docker.io/x", "0", "00/11", "a b", "é", "e\u0301", "ａ", "١", "x%2Fy",
	}
	tags    = []string{"", "", "", ":1", ":latest", ":v1.2.3-rc_1", ":_", ":.", ":-", ":.a", ":a.", ":A", ":{t128}", ":{t128}T", ":", ":a:b", ":a/b", ":é", ":٣", ":a b", ":5000"}
	digests = []string{
		"", "", "", "@{256}", "@{384}", "@{512}", "@{256}0", "@{256}/x", "@{256}@{256}", "@{256}:tag", "@sha256:{hex}", "@sha384:{hex}", "@sha512:{hex}",
		"@sha1:0123456789abcdef0123456789abcdef01234567", "@md5:0123456789abcdef0123456789abcdef", "@blake3:{hex}", "@SHA256:{hex}", "@sha256+b64:{hex}", "@sha256-b64:{hex}",
		"@sha256:{hex}F", "@sha256:F0{hex}", "@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", "@sha256:0123", "@", "@sha256", "@sha256:", "@:{hex}", "@{hex}",
	}
	mild    = []rune("abz019-._/AZ")
	noise   = []rune("/:@._-[]aAzZ09 \n\r\t\x00\u00a0éİſK٣𝟗%+=~,;\\\"'#?&{}\u200b")
	whole   = []string{"", "/", "//", ":", "@", ".", "..", "-", "_", " ", "\n", "{hex}", "{hex}\n", "{hex}a", "{256}", "sha256:{hex}", "{hex}:a", "{hex}@{256}", "x\n", "x\r\n", " x", "x ", "x:1\n", "x@{256}\n", "localhost:5000", "localhost:5000/", "localhost:5000/x", "localhost:5000:x", "localhost/", "localhost", "example.com", "example.com/", "\ufeffnginx", "https://example.com/x", "http:/x", "docker://x", "a/", "A/b", "A/B", "É/b", "ſ/b", "K/b", "a:b@{256}", "x:sha256@{256}", "x@{256}{256}", "\x00", "x\x00"}
	stripIt = regexp.MustCompile(`(?s) ?\(.*\),?`)
)

type rows struct {
	seen   map[string]bool
	errors map[string]int
	lines  [][]any
	room   int // for refused texts; the rest of the file is for accepted ones
}

func expand(text string) string {
	for word, long := range words {
		text = strings.ReplaceAll(text, "{"+word+"}", long)
	}
	return text
}

// shorten undoes expand; the longest first, so that the outcome does not depend on the order of a map.
func shorten(text string) string {
	keys := make([]string, 0, len(words))
	for word := range words {
		keys = append(keys, word)
	}
	sort.Slice(keys, func(i, j int) bool { return len(words[keys[i]]) > len(words[keys[j]]) })
	for _, word := range keys {
		text = strings.ReplaceAll(text, words[word], "{"+word+"}")
	}
	return text
}

func (r *rows) ask(template string) {
	short := shorten(expand(template))
	text := expand(short)
	if r.seen[text] {
		return
	}
	r.seen[text] = true
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		if r.room--; r.room < 0 {
			return
		}
		message := stripIt.ReplaceAllString(err.Error(), "")
		if _, known := r.errors[message]; !known {
			r.errors[message] = len(r.errors)
		}
		r.lines = append(r.lines, []any{short, r.errors[message]})
		return
	}
	var tag, digest string
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		digest = digested.Digest().String()
	}
	line := []any{short}
	for _, part := range []string{reference.Domain(named), reference.Path(named), tag, digest, named.String(), reference.FamiliarString(named)} {
		line = append(line, shorten(part))
	}
	r.lines = append(r.lines, line)
}

func pick(random *rand.Rand, from []string) string { return from[random.Intn(len(from))] }

func compose(random *rand.Rand) string {
	host := pick(random, hosts)
	if host != "" {
		host += pick(random, ports) + "/"
	}
	// Mostly one strange part at a time: a text with four of them is refused for the first.
	path, tag, digest := paths[random.Intn(8)], tags[random.Intn(6)], digests[random.Intn(6)]
	switch random.Intn(6) {
	case 0, 1:
		path = pick(random, paths)
	case 2:
		tag = pick(random, tags)
	case 3:
		digest = pick(random, digests)
	case 4:
		path, tag, digest = pick(random, paths), pick(random, tags), pick(random, digests)
	}
	return host + path + tag + digest
}

func mutate(random *rand.Rand, text string) string {
	runes, letters := []rune(text), noise
	if random.Intn(2) == 0 {
		letters = mild
	}
	for range 1 + random.Intn(3) {
		at := random.Intn(len(runes) + 1)
		switch random.Intn(4) {
		case 0: // insert
			runes = append(runes[:at], append([]rune{letters[random.Intn(len(letters))]}, runes[at:]...)...)
		case 1: // replace
			if at < len(runes) {
				runes[at] = letters[random.Intn(len(letters))]
			}
		case 2: // delete
			if at < len(runes) {
				runes = append(runes[:at], runes[at+1:]...)
			}
		case 3: // repeat a piece
			end := min(len(runes), at+1+random.Intn(4))
			runes = append(runes[:end], append(append([]rune{}, runes[at:end]...), runes[end:]...)...)
		}
	}
	return string(runes)
}

func main() {
	seed := flag.Int64("seed", 1, "of the generator")
	count := flag.Int("n", 3200, "texts to make")
	flag.Parse()
	random := rand.New(rand.NewSource(*seed))
	found := &rows{seen: map[string]bool{}, errors: map[string]int{}, room: *count / 2}
	for _, text := range whole {
		found.ask(text)
	}
	for _, host := range hosts {
		for _, end := range []string{"", "/x", ":5000", ":5000/x"} {
			found.ask(host + end)
		}
	}
	for _, parts := range [][]string{paths, tags, digests} {
		for _, part := range parts {
			for _, before := range []string{"", "x", "docker.io/", "example.com/", "example.com/x"} {
				found.ask(before + part)
			}
		}
	}
	for len(found.lines) < *count {
		text := compose(random)
		if random.Intn(3) > 0 {
			if random.Intn(4) == 0 { // hit the long pieces too
				text = expand(text)
			}
			text = mutate(random, text)
		}
		found.ask(text)
	}
	write(found)
}

func encoded(value any) string {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return strings.TrimSpace(buffer.String())
}

func write(found *rows) {
	messages := make([]string, len(found.errors))
	for message, index := range found.errors {
		messages[index] = message
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	fmt.Fprintf(out, "{\"library\": \"github.com/distribution/reference v0.6.0\",\n\"words\": %s,\n\"errors\": %s,\n\"rows\": [\n", encoded(words), encoded(messages))
	for index, line := range found.lines {
		end := ","
		if index == len(found.lines)-1 {
			end = ""
		}
		fmt.Fprintf(out, "%s%s\n", encoded(line), end)
	}
	fmt.Fprintln(out, "]}")
}
