// The whole episode at one glance: experts' weights as stacked areas, score and value, scenes; a click goes there.

const SCENE_ROW = 12;
const MOST_CHANGES = 20; // of a measure; one that changes more often is a curve and not a few events

class Timeline {
  constructor(canvas, data, seek) {
    this.canvas = canvas;
    this.data = data;
    this.left = 104;
    this.right = 78;
    const go = (event) => {
      const box = canvas.getBoundingClientRect();
      seek(Math.round(this.stepAt(event.clientX - box.left)));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && go(event));
  }

  get count() { return this.data.action.length; }
  x(step) { return this.left + ((step + 0.5) * (this.width - this.left - this.right)) / this.count; }
  stepAt(x) {
    const step = ((x - this.left) * this.count) / (this.width - this.left - this.right) - 0.5;
    return Math.min(this.count - 1, Math.max(0, step));
  }

  resize(width) {
    this.width = Math.max(width, this.left + this.right + 1);  // a window may be narrower, for a moment or in earnest
    const scenes = this.data.scene_names.length;
    // Measures that change a few times, such as a depth: a row of their values each.
    this.measures = Object.entries(this.data.measures).map(([name, values]) => [name, changesOf(values)]).filter(([, changes]) => changes.length <= MOST_CHANGES);
    const below = 143 + this.measures.length * 16, head = scenes ? 14 : 0;
    this.rows = { gate: [8, 78], score: [93, 44], measures: 143, scenes: below + head, axis: below + head + scenes * SCENE_ROW + 4 };
    this.height = this.rows.axis + 18;
    this.pen = prepareCanvas(this.canvas, this.width, this.height);
    this.still = document.createElement("canvas");
    const pen = prepareCanvas(this.still, this.width, this.height);
    const colors = { text: css("--text"), muted: css("--muted"), line: css("--line"), accent: css("--accent"), accentText: css("--accent-text") };
    pen.font = '11px system-ui, "DejaVu Sans", sans-serif';
    pen.textBaseline = "middle";
    this.drawGate(pen, colors);
    this.drawScore(pen, colors);
    this.measures.forEach(([name, changes], row) => this.drawMeasure(pen, colors, this.rows.measures + 16 * row, name, changes));
    this.drawScenes(pen, colors);
    this.drawAxis(pen, colors);
  }

  label(pen, color, text, y) {
    pen.fillStyle = color;
    pen.textAlign = "right";
    pen.fillText(text, this.left - 8, y);
  }

  drawGate(pen, colors) {
    const [top, height] = this.rows.gate, wide = (this.width - this.left - this.right) / this.count;
    // Steps, not slopes: a gate belongs to one state. Columns of less than a pixel are averaged.
    const per = Math.max(1, Math.ceil(1 / wide));
    for (let from = 0; from < this.count; from += per) {
      const to = Math.min(this.count, from + per);
      const mean = this.data.gate[0].map((_, k) => {
        let sum = 0;
        for (let step = from; step < to; step++) sum += this.data.gate[step][k];
        return sum / (to - from);
      });
      let y = top;
      mean.forEach((share, k) => {
        pen.fillStyle = this.data.colors[k];
        pen.fillRect(this.left + from * wide, y, (to - from) * wide + 0.4, share * height);
        y += share * height;
      });
    }
    pen.strokeStyle = colors.line;
    pen.strokeRect(this.left - 0.5, top - 0.5, this.width - this.left - this.right + 1, height + 1);
    this.label(pen, colors.text, "experts' weights", top + height / 2);
    this.label(pen, colors.muted, "100 %", top + 5);
    this.label(pen, colors.muted, "0 %", top + height - 5);
  }

  drawScore(pen, colors) {
    const [top, height] = this.rows.score;
    const end = this.width - this.right;
    pen.strokeStyle = colors.line;
    pen.strokeRect(this.left - 0.5, top - 0.5, end - this.left + 1, height + 1);
    const curve = (values, color, stepped) => {
      const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
      const y = (value) => top + height - 3 - ((value - low) / span) * (height - 6);
      pen.strokeStyle = color;
      pen.lineWidth = 1.4;
      pen.beginPath();
      values.forEach((value, step) => {
        if (step && stepped) pen.lineTo(this.x(step), y(values[step - 1]));
        pen[step ? "lineTo" : "moveTo"](this.x(step), y(value));
      });
      pen.stroke();
      pen.lineWidth = 1;
      return [low, high];
    };
    const value = curve(this.data.value, colors.accent, false);
    const score = curve(this.data.score, colors.text, true);
    this.label(pen, colors.text, `score ${short(score[1])}`, top + 7);
    this.label(pen, colors.muted, short(score[0]), top + height - 6);
    pen.textAlign = "left";
    pen.fillStyle = colors.accentText;
    pen.fillText(`value ${short(value[1])}`, end + 6, top + 7);
    pen.fillText(short(value[0]), end + 6, top + height - 6);
  }

  drawMeasure(pen, colors, top, name, changes) {
    const wide = (this.width - this.left - this.right) / this.count, values = this.data.measures[name];
    [0, ...changes].forEach((from, index) => {
      const to = changes[index] ?? this.count, text = values[from] === null ? "–" : short(values[from]);
      pen.fillStyle = colors.line;
      pen.globalAlpha = index % 2 ? 0.9 : 0.45;
      pen.fillRect(this.left + from * wide, top + 1, (to - from) * wide, 13);
      pen.globalAlpha = 1;
      if (pen.measureText(text).width + 2 > (to - from) * wide) return;
      pen.textAlign = "center";
      pen.fillStyle = colors.text;
      pen.fillText(text, this.left + ((from + to) / 2) * wide, top + 8);
    });
    this.label(pen, colors.text, words(name), top + 8);
  }

  drawScenes(pen, colors) {
    const top = this.rows.scenes, wide = (this.width - this.left - this.right) / this.count;
    if (this.data.scene_names.length) {
      pen.textAlign = "left";
      pen.fillStyle = colors.muted;
      pen.fillText("scenes, in the color of the expert that leads", this.left + 7, top - 6);
      pen.fillText("of steps", this.width - this.right + 6, top - 6);
    }
    this.data.scene_names.forEach((name, row) => {
      const y = top + row * SCENE_ROW;
      pen.fillStyle = colors.line;
      pen.globalAlpha = 0.45;
      pen.fillRect(this.left, y + 1, this.width - this.left - this.right, SCENE_ROW - 3);
      pen.globalAlpha = 1;
      let steps = 0;
      this.data.scene.forEach((flags, step) => {
        if (!flags.includes(row)) return;
        steps += 1;
        pen.fillStyle = this.data.colors[leading(this.data.gate[step])];
        pen.fillRect(this.left + step * wide, y + 1, Math.max(1, wide + 0.4), SCENE_ROW - 3);
      });
      pen.font = '10px system-ui, "DejaVu Sans", sans-serif';
      this.label(pen, steps ? colors.text : colors.muted, words(name), y + SCENE_ROW / 2);
      pen.textAlign = "left";
      pen.fillStyle = colors.muted;
      pen.fillText(`${Math.round((100 * steps) / this.count)} %`, this.width - this.right + 6, y + SCENE_ROW / 2);
    });
  }

  drawAxis(pen, colors) {
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((n) => this.count / n <= 12) || 10000;
    pen.fillStyle = colors.muted;
    pen.font = '11px system-ui, "DejaVu Sans", sans-serif';
    for (let step = 0; step < this.count; step += every) {
      pen.textAlign = "center";
      pen.fillText(String(step), this.x(step), this.rows.axis + 8);
    }
    this.label(pen, colors.muted, "step", this.rows.axis + 8);
  }

  draw(step) {
    const pen = this.pen;
    pen.clearRect(0, 0, this.width, this.height);
    pen.drawImage(this.still, 0, 0, this.width, this.height);
    const x = this.x(step);
    pen.fillStyle = css("--background");
    pen.fillRect(x - 2, 2, 4, this.rows.axis);
    pen.fillStyle = css("--text");
    pen.fillRect(x - 1, 2, 2, this.rows.axis);
    pen.beginPath();
    pen.moveTo(x - 6, 0);
    pen.lineTo(x + 6, 0);
    pen.lineTo(x, 8);
    pen.fill();
  }
}

function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
function changesOf(values) { return [...values.keys()].filter((step) => step && values[step] !== values[step - 1]); }
function leading(gate) { return gate.indexOf(Math.max(...gate)); }
// Three digits that tell something, none of them a zero at the end.
function short(value) { return Number.isInteger(value) || Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3))); }
