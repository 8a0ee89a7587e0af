package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// theme are the colours for pages of one kind. The sides also differ in brightness,
// and the last one in its dashes.
type theme struct {
	suffix            string
	paper, ink, faint color.Color
	sides             [3]color.NRGBA
}

func light() theme {
	return theme{"", color.White, color.Gray{Y: 0x20}, color.Gray{Y: 0xdd},
		[3]color.NRGBA{{0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x5b, 0xbb, 0xff}, {0x70, 0x70, 0x70, 0xff}}}
}

func dark() theme {
	return theme{"-dark", color.NRGBA{0x0d, 0x11, 0x17, 0xff}, color.Gray{Y: 0xe6}, color.Gray{Y: 0x40},
		[3]color.NRGBA{{0xff, 0xa6, 0x4d, 0xff}, {0x58, 0xb4, 0xff, 0xff}, {0xa0, 0xa0, 0xa0, 0xff}}}
}

// Sizes of a picture, in points.
const (
	panelWide, panelHigh vg.Length = 330, 225
	gap                  vg.Length = 16
	header               vg.Length = 58
	columns                        = 3
	dpi                            = 144
)

// save writes a picture: a title, a legend, and the panels in rows.
func save(path, format, title string, panels []panel, t theme) error {
	cols := min(columns, len(panels))
	rows := (len(panels) + cols - 1) / cols
	wide := vg.Length(max(cols, 2))*(panelWide+gap) + gap
	high := vg.Length(rows)*(panelHigh+gap) + header
	var raw bytes.Buffer
	switch format {
	case "svg":
		c := vgsvg.New(wide, high)
		if err := paint(draw.New(c), title, panels, cols, rows, t); err != nil {
			return err
		}
		if _, err := c.WriteTo(&raw); err != nil {
			return err
		}
		return os.WriteFile(path, withFallbacks(raw.Bytes()), 0o644)
	case "png":
		c := vgimg.NewWith(vgimg.UseWH(wide, high), vgimg.UseDPI(dpi))
		if err := paint(draw.New(c), title, panels, cols, rows, t); err != nil {
			return err
		}
		if _, err := (vgimg.PngCanvas{Canvas: c}).WriteTo(&raw); err != nil {
			return err
		}
		return os.WriteFile(path, raw.Bytes(), 0o644)
	}
	return fmt.Errorf("the format %q is not known: svg and png are", format)
}

// withFallbacks names fonts beside the one that was used to measure texts, which
// browsers need not have.
func withFallbacks(svg []byte) []byte {
	return bytes.ReplaceAll(svg, []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
}

func paint(c draw.Canvas, title string, panels []panel, cols, rows int, t theme) error {
	c.SetColor(t.paper)
	c.Fill(c.Rectangle.Path())
	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, cols)
	}
	var there [3]bool
	for i := range panels {
		p, err := panels[i].plot(t)
		if err != nil {
			return fmt.Errorf("%s: %w", panels[i].title, err)
		}
		grid[i/cols][i%cols] = p
		for _, l := range panels[i].lines {
			there[l.side] = true
		}
	}
	heading(c, title, there, t)
	tiles := draw.Tiles{Cols: cols, Rows: rows, PadX: gap, PadY: gap, PadLeft: gap, PadRight: gap, PadBottom: gap / 2, PadTop: header}
	for i, row := range plot.Align(grid, tiles, c) {
		for j, canvas := range row {
			if grid[i][j] != nil {
				grid[i][j].Draw(canvas)
			}
		}
	}
	return nil
}

// heading writes the title, and below it the legend in one line.
func heading(c draw.Canvas, title string, there [3]bool, t theme) {
	const sample, lineHeight = 28, 22
	at := vg.Point{X: c.Min.X + gap, Y: c.Max.Y - gap}
	big := style(t, 13)
	big.YAlign = draw.YTop
	c.FillText(big, at, title)
	at.Y -= lineHeight
	small := style(t, 11)
	small.YAlign = draw.YTop
	for i, s := range (&measured{}).sides() {
		if !there[i] {
			continue
		}
		middle := at.Y - small.Height(s.name)/2
		c.StrokeLine2(t.stroke(line{side: i}), at.X, middle, at.X+sample, middle)
		c.FillText(small, vg.Point{X: at.X + sample + gap/2, Y: at.Y}, s.name)
		at.X += sample + small.Width(s.name) + 2*gap
	}
}

func style(t theme, size vg.Length) text.Style {
	return text.Style{Color: t.ink, Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size), Handler: plot.DefaultTextHandler}
}

// stroke is how a line is drawn.
func (t theme) stroke(l line) draw.LineStyle {
	c := t.sides[l.side]
	s := draw.LineStyle{Color: c, Width: 2}
	if l.side == len(t.sides)-1 {
		s.Dashes = []vg.Length{5, 3}
	}
	if l.faint {
		c.A /= 3
		s.Color, s.Width, s.Dashes = c, 0.75, nil
	}
	return s
}

func (p *panel) plot(t theme) (*plot.Plot, error) {
	out := plot.New()
	out.BackgroundColor = nil
	out.Title.Text, out.Title.Padding = p.title, 6
	out.Title.TextStyle = style(t, 11)
	out.Title.TextStyle.XAlign, out.Title.TextStyle.YAlign = draw.XCenter, draw.YTop
	for _, axis := range []*plot.Axis{&out.X, &out.Y} {
		label := axis.Label.TextStyle
		axis.Label.TextStyle = style(t, 10)
		axis.Label.TextStyle.XAlign, axis.Label.TextStyle.YAlign, axis.Label.TextStyle.Rotation = label.XAlign, label.YAlign, label.Rotation
		mark := axis.Tick.Label
		axis.Tick.Label = style(t, 9)
		axis.Tick.Label.XAlign, axis.Tick.Label.YAlign = mark.XAlign, mark.YAlign
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = t.ink, t.ink
	}
	out.X.Label.Text, out.Y.Label.Text = p.x, p.y
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = t.faint, t.faint
	out.Add(grid)
	for _, l := range p.lines {
		drawn, err := plotter.NewLine(l.at)
		if err != nil {
			return nil, err
		}
		drawn.LineStyle = t.stroke(l)
		out.Add(drawn)
	}
	out.X.Min, out.Y.Min, out.Y.Max = 0, 0, p.most
	out.X.Tick.Marker, out.Y.Tick.Marker = plot.TickerFunc(even), plot.TickerFunc(even)
	if p.log {
		out.X.Min, out.X.Max = floor125(p.least), ceil125(out.X.Max)
		out.X.Scale, out.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(decades)
	}
	return out, nil
}
