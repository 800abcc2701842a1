package api

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// machine reads how busy the machine is. Each number is a percentage, or nil where
// the system does not say.
type machine struct {
	dir string // on the disk that counts

	mu          sync.Mutex
	at          time.Time
	busy, total uint64 // of the processors, at
	cpu         *float64
}

// cpuEvery is the shortest time over which the processors' load is taken.
const (
	cpuEvery = 2 * time.Second
	cpuFirst = 100 * time.Millisecond // when there is no earlier look to compare with
)

// cpuUsage is the load of all processors since it was last asked for.
func (m *machine) cpuUsage() *float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.at.IsZero() && time.Since(m.at) < cpuEvery {
		return m.cpu
	}
	if m.at.IsZero() {
		if m.busy, m.total = cpuTimes(); m.total == 0 {
			return nil
		}
		time.Sleep(cpuFirst)
	}
	busy, total := cpuTimes()
	if total > m.total {
		m.cpu = percent(float64(busy-m.busy), float64(total-m.total))
	}
	m.busy, m.total, m.at = busy, total, time.Now()
	return m.cpu
}

// cpuTimes returns the processors' busy and total time since the start, in ticks.
func cpuTimes() (busy, total uint64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 5 || fields[0] != "cpu" {
		return 0, 0
	}
	var idle uint64
	for i, f := range fields[1:min(len(fields), 9)] { // guest time is in user time already
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, 0
		}
		total += n
		if i == 3 || i == 4 { // idle, and waiting for a disk
			idle += n
		}
	}
	return total - idle, total
}

// memoryUsage is how much of the memory is not available.
func memoryUsage() *float64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	have := map[string]float64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64); err == nil {
			have[name] = n
		}
	}
	return percent(have["MemTotal"]-have["MemAvailable"], have["MemTotal"])
}

// diskUsage is how much of the disk with the data is used, as a person without
// special rights sees it.
func (m *machine) diskUsage() *float64 {
	var st syscall.Statfs_t
	dir := m.dir
	if dir == "" {
		dir = "."
	}
	if syscall.Statfs(dir, &st) != nil {
		return nil
	}
	used := float64(st.Blocks) - float64(st.Bfree)
	return percent(used, used+float64(st.Bavail))
}

func percent(part, whole float64) *float64 {
	if whole <= 0 {
		return nil
	}
	p := float64(int(1000*part/whole+0.5)) / 10
	p = min(max(p, 0), 100)
	return &p
}
