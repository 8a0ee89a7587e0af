package bench

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	r := report{
		Kubelet: series{{figCreated: {400, 500, 600}, figExit: {100, 200}, figRewritten: {100}}, {figCreated: {500}}, {figCreated: {900}}},
		Agent:   series{{figCreated: {100, 200, 300}, figExit: {9, 30}, figRewritten: {0}}, {figCreated: {210}}, {figCreated: {190}}},
		Floor:   series{{figCreated: {150}}},
	}
	r.judge()
	rows := map[string]entry{}
	for _, e := range r.Rows {
		rows[e.Name] = e
	}
	if e := rows[figCreated]; e.Kubelet.P50 != 500 || e.Kubelet.P99 != 600 || e.Agent.P50 != 200 || e.Agent.Least != 190 || e.Agent.Most != 210 || e.Ratio != 0.4 || e.Missed != "" {
		t.Errorf("%s: %+v", figCreated, e)
	}
	for name, want := range map[string]string{
		figExit:      "ratio over 0.06",
		figDeleted:   "not measured",
		figRewritten: "",
	} {
		if e := rows[name]; !strings.HasPrefix(e.Missed, want) || (want == "") != (e.Missed == "") {
			t.Errorf("%s: missed %q, want %q", name, e.Missed, want)
		}
	}
	r.Floor = series{{figCreated: {100}}}
	r.judge()
	if got := r.Rows[0].Missed; got != "more than 60 above the floor" {
		t.Errorf("%s: missed %q, want that it is too far above the floor", figCreated, got)
	}
	// What the runtime takes alone is left out of what is compared.
	r.Kubelet[0][figIdleCRI], r.Agent[0][figIdleCRI], r.Floor[0][figIdleCRI] = []float64{100}, []float64{66}, []float64{60}
	for kubelet, want := range map[float64]string{100: "", 90: "ratio over 0.15", 50: "ratio over 0.15"} {
		r.Kubelet[0][figIdleCRI][0] = kubelet
		r.judge()
		i := slices.IndexFunc(r.Rows, func(e entry) bool { return e.Name == figIdleCRI })
		if e := r.Rows[i]; e.Missed != want {
			t.Errorf("%s of %v: ratio %v, missed %q; want %q", figIdleCRI, kubelet, e.Ratio, e.Missed, want)
		}
	}
	if text := r.table(); strings.Count(text, "\n") != len(figures())+2 || strings.Contains(text, "NaN") {
		t.Errorf("the table:\n%s", text)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("as JSON: %v", err)
	}
}

// Where no distance is named, what the agents add to the floor is compared.
func TestJudgeWhatIsAddedBeyondTheFloor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		floor, agent float64
		want         string
	}{
		{9, 10, ""},
		{9, 11, "ratio over 0.5"},
		{12, 16, ""},
		{12, 17, "ratio over 0.5 above the floor"},
	} {
		r := report{Kubelet: series{{figAllReady: {20}}}, Agent: series{{figAllReady: {c.agent}}}, Floor: series{{figAllReady: {c.floor}}}}
		r.judge()
		i := slices.IndexFunc(r.Rows, func(e entry) bool { return e.Name == figAllReady })
		if e := r.Rows[i]; e.Missed != c.want {
			t.Errorf("%+v: missed %q", c, e.Missed)
		}
	}
}

// A ratio that the floor itself would miss is not judged, the distance from the floor is.
func TestJudgeBeyondTheFloor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		told, api, kubelet, agent float64
		want                      string
	}{
		{20, 4, 500, 29, ""},
		{20, 4, 500, 31, "ratio over 0.06"},
		{40, 4, 500, 58, ""}, // 0.06 would be 30
		{40, 4, 500, 60, "more than 15 above the floor"},
	} {
		r := report{
			Kubelet: series{{figExit: {c.kubelet}, floorTold: {c.told}, floorAPI: {c.api}}},
			Agent:   series{{figExit: {c.agent}, floorTold: {c.told}, floorAPI: {c.api}}},
		}
		r.judge()
		i := slices.IndexFunc(r.Rows, func(e entry) bool { return e.Name == figExit })
		if e := r.Rows[i]; e.Missed != c.want || float64(e.Floor.P50) != c.told+c.api {
			t.Errorf("%+v: floor %v, missed %q", c, e.Floor.P50, e.Missed)
		}
	}
}

// What the kubelet was not measured for cannot be passed.
func TestJudgeWithoutTheOther(t *testing.T) {
	t.Parallel()
	r := report{Agent: series{{figIdle: {1}}}}
	r.judge()
	for _, e := range r.Rows {
		if e.Name == figIdle && (e.Missed == "" || !math.IsNaN(float64(e.Ratio))) {
			t.Errorf("passes without anything to compare with: %+v", e)
		}
	}
}

// What is written to bench.json comes back as the same table.
func TestDocument(t *testing.T) {
	t.Parallel()
	r := &report{Machine: "one of ours", Date: "2026-01-02", Rounds: 1, Runs: 3, Repeated: 2,
		Kubelet: series{{figCreated: {500}, hostKept: {0.1}}}, Agent: series{{figCreated: {200}, lineReady: {1, 2}, hostKept: {0.4}}}, Floor: series{{figCreated: {150}}}}
	r.judge()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Document(raw)
	if err != nil || text != r.String() || !strings.HasPrefix(text, "2026-01-02, on one of ours, 25 % of the processors' time kept by the host; rounds of each: 1, in runs: 3, measured again because of the host: 2\n\n| figure") {
		t.Errorf("%v, got\n%s, want\n%s", err, text, r)
	}
	for _, bad := range []string{"", "{}", `{"kubelet":[{"x":[1]}]}`} {
		if text, err := Document([]byte(bad)); err == nil {
			t.Errorf("%q became %q", bad, text)
		}
	}
}
