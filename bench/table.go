package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// results are all turns of a run.
type results struct {
	Machine string
	Rounds  int
	Turns   []Turn
}

// write writes the raw figures.
func (r *results) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// busy is how many cores of foreign work make a figure doubtful.
const busy = 0.3

// print prints the table: for each figure the median of the rounds, the least and
// the most, and how it stands to peers and aims.
func (r *results) print(out io.Writer, chosen []subject, missing map[string]error) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "subject\tmeasure\tmedian [min–max]\tratio (aim)")
	doubtful := false
	for _, s := range chosen {
		if err := missing[s.name]; err != nil {
			fmt.Fprintf(w, "%s\tMISSING: %v\t\t\n", s.name, err)
			continue
		}
		var foreign []float64
		var order []Figure
		for _, t := range r.Turns {
			if t.Subject != s.name {
				continue
			}
			foreign = append(foreign, t.Foreign)
			if order == nil {
				order = t.Figures
			}
		}
		name := s.name
		if order == nil {
			fmt.Fprintf(w, "%s\tFAILED\t\t\n", name)
			continue
		}
		if median(foreign) > busy {
			name += " †"
			doubtful = true
		}
		for _, f := range order {
			v := values(r.round(s.name, f.Name))
			fmt.Fprintf(w, "%s\t%s\t%s %s [%s–%s]\t%s\n", name, f.Name, show(median(v), f.Unit), f.Unit,
				show(slices.Min(v), f.Unit), show(slices.Max(v), f.Unit), r.ratios(s.name, f))
		}
	}
	_ = w.Flush()
	fmt.Fprintln(out)
	for _, s := range chosen {
		fmt.Fprintf(out, "%s: %s\n", s.name, s.setup)
	}
	if doubtful {
		fmt.Fprintf(out, "† measured while other processes used more than %.1f cores\n", busy)
	}
	fmt.Fprintln(out, r.Machine)
}

// round is a figure by round.
func (r *results) round(subject, figure string) map[int]float64 {
	out := map[int]float64{}
	for _, t := range r.Turns {
		for _, f := range t.Figures {
			if t.Subject == subject && f.Name == figure {
				out[t.Round] = f.Value
			}
		}
	}
	return out
}

// ratios says how a figure stands to each of its targets. A ratio is the median of
// the rounds' own ratios, so that what slows the machine slows both sides of it.
func (r *results) ratios(subject string, f Figure) string {
	var out []string
	for _, t := range targets {
		if t.ours != subject || t.measure != f.Name {
			continue
		}
		mine := r.round(subject, f.Name)
		text, value := "", median(values(mine))
		if t.peer != "" {
			var v []float64
			for round, peer := range r.round(t.peer, t.peerMeasure) {
				if m, ok := mine[round]; ok {
					v = append(v, m/peer)
				}
			}
			if len(v) == 0 {
				continue
			}
			value = median(v)
			to := t.peer
			if to == subject {
				to = t.peerMeasure
			}
			text = fmt.Sprintf("%.3g× %s ", value, to)
			if f.Unit == "ms" {
				text = fmt.Sprintf("%.3g× quicker than %s ", 1/value, to)
			}
		}
		switch {
		case t.least > 0:
			text += fmt.Sprintf("(≥ %g: %s)", t.least, verdict(value >= t.least))
		case t.most > 0:
			text += fmt.Sprintf("(≤ %g: %s)", t.most, verdict(value <= t.most))
		}
		out = append(out, strings.TrimSpace(text))
	}
	return strings.Join(out, "; ")
}

func verdict(ok bool) string {
	if ok {
		return "met"
	}
	return "MISSED"
}

func values(m map[int]float64) []float64 {
	out := make([]float64, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func show(v float64, unit string) string {
	if unit == "ms" {
		return fmt.Sprintf("%.2f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// machine describes where this runs.
func machine(dir string) string {
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.TrimLeft(strings.TrimSpace(name), ": \t")
				break
			}
		}
	}
	fs := "unknown file system"
	if out, err := exec.Command("stat", "-f", "-c", "%T", dir).Output(); err == nil {
		fs = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s, %d × %s, %s, %s on %s/%s", time.Now().UTC().Format(time.DateOnly), goruntime.NumCPU(), cpu, fs,
		goruntime.Version(), goruntime.GOOS, goruntime.GOARCH)
}
