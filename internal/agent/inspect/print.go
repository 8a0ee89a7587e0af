package inspect

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Table prints one line for each pod, and with wide one for each container and
// the time each step of the start took.
func Table(w io.Writer, pods []Pod, now time.Time, wide bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NAMESPACE\tPOD\tREADY\tSTATUS\tRESTARTS\tAGE\tIP")
	for i := range pods {
		p := &pods[i]
		ready, serving, restarts := 0, 0, int32(0)
		for _, c := range p.Containers {
			if !c.serves() {
				continue
			}
			serving++
			restarts += c.Restarts
			if c.Ready {
				ready++
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%d/%d\t%s\t%d\t%s\t%s\n", dash(p.Namespace), p.name(), ready, serving, p.word(), restarts, age(p.Started, now), dash(p.IP))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("printing the pods: %w", err)
	}
	if !wide {
		return nil
	}
	fmt.Fprintln(w)
	fmt.Fprintln(tw, "POD\tCONTAINER\tSTATE\tREADY\tRESTARTS\tPROBES")
	for i := range pods {
		for _, c := range pods[i].Containers {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%t\t%d\t%s\n", pods[i].name(), c.Name, c.word(), c.Ready, c.Restarts, cmp.Or(strings.Join(c.Probes, ","), "none"))
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("printing the containers: %w", err)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(tw, "POD\tSTART-UP STEP\tTOOK")
	for i := range pods {
		for _, s := range pods[i].Startup {
			fmt.Fprintf(tw, "%s\t%s\t%.0f ms\n", pods[i].name(), s.Name, s.Millis)
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("printing the start-up steps: %w", err)
	}
	return nil
}

// Why prints what happened to a pod and what it waits for.
func Why(w io.Writer, p *Pod, now time.Time) {
	fmt.Fprintf(w, "Pod %s/%s is %s (%s)", dash(p.Namespace), p.name(), p.word(), strings.ToLower(p.Stage))
	if p.Message != "" {
		fmt.Fprintf(w, ": %s", p.Message)
	}
	fmt.Fprintln(w)
	for _, c := range p.Containers {
		fmt.Fprintf(w, "  %s %s: %s, %d restarts", strings.TrimSpace(c.Kind+" container"), c.Name, c.word(), c.Restarts)
		if !c.Since.IsZero() {
			fmt.Fprintf(w, ", since %s", age(c.Since, now))
		}
		if c.Message != "" {
			fmt.Fprintf(w, "\n    %s", c.Message)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "\nIt waits for:")
	if len(p.Waits) == 0 {
		fmt.Fprintln(w, "  nothing; an event decides what comes next")
	}
	for _, wait := range p.Waits {
		fmt.Fprintf(w, "  %s", wait.What)
		if !wait.Since.IsZero() {
			fmt.Fprintf(w, ", since %s", age(wait.Since, now))
		}
		if !wait.Next.IsZero() {
			fmt.Fprintf(w, ", next at %s (in %s)", wait.Next.In(now.Location()).Format(time.TimeOnly), max(wait.Next.Sub(now), 0).Round(time.Second))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "\nWhat happened:")
	for _, e := range p.Timeline {
		fmt.Fprintf(w, "  %s  %s\n", e.At.In(now.Location()).Format("15:04:05.000"), e.Text)
	}
}

// name is the pod's name; of a pod that only the disk knows, its UID.
func (p *Pod) name() string {
	if p.Name == "" {
		return "uid=" + p.UID
	}
	return p.Name
}

// word is the pod's state in a word, as kubectl shows it.
func (p *Pod) word() string {
	if p.Stage == "Terminating" {
		return "Terminating"
	}
	if p.Reason != "" {
		return p.Reason
	}
	for _, c := range p.Containers {
		if c.Kind == "init" && c.State == "exited" && *c.ExitCode == 0 {
			continue
		}
		if c.Reason != "" && (c.State == "waiting" || p.Phase != "Succeeded") {
			return c.Reason
		}
	}
	if p.Phase == "" {
		return "Unknown"
	}
	return p.Phase
}

func (c *Container) word() string {
	switch {
	case c.ExitCode != nil:
		return fmt.Sprintf("%s, exit code %d (%s)", c.State, *c.ExitCode, c.Reason)
	case c.Reason != "":
		return c.State + " (" + c.Reason + ")"
	}
	return c.State
}

func age(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	d := now.Sub(since)
	switch {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
