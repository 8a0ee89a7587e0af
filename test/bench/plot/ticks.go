package main

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// even marks a linear axis at round numbers, four to ten of them.
func even(least, most float64) []plot.Tick {
	const wanted = 4
	step := floor125((most - least) / wanted)
	var all []plot.Tick
	if !(step > 0) || math.IsInf(step, 1) {
		return all
	}
	for n := math.Ceil(least / step); n*step <= most*(1+1e-9); n++ {
		all = append(all, plot.Tick{Value: n * step, Label: number(n * step)})
	}
	return all
}

// decades marks a logarithmic axis at 1, 2 and 5 times each power of ten. All have
// a label where there is room.
func decades(least, most float64) []plot.Tick {
	const room = 1000
	var all []plot.Tick
	for at := floor125(least); at <= most*(1+1e-9); at = next125(at) {
		if at < least*(1-1e-9) {
			continue
		}
		tick := plot.Tick{Value: at}
		if _, n := split(at); n == 1 || most/least < room {
			tick.Label = number(at)
		}
		all = append(all, tick)
	}
	return all
}

func number(f float64) string {
	const digits = 6
	return strconv.FormatFloat(f, 'g', digits, 64)
}

// split returns the largest power of ten that is not above a positive number, and
// which of 1, 2 and 5 times it is the nearest below.
func split(f float64) (power, n float64) {
	power = math.Pow(10, math.Floor(math.Log10(f)+1e-9))
	for _, n = range []float64{5, 2, 1} {
		if f >= n*power*(1-1e-9) {
			break
		}
	}
	return power, n
}

// floor125 is the nearest 1, 2 or 5 times a power of ten below, ceil125 above.
func floor125(f float64) float64 {
	power, n := split(f)
	return n * power
}

func ceil125(f float64) float64 {
	if low := floor125(f); low < f*(1-1e-9) {
		return next125(low)
	}
	return f
}

// next125 is the next larger of such a number.
func next125(f float64) float64 {
	power, n := split(f)
	return map[float64]float64{1: 2, 2: 5, 5: 10}[n] * power
}
