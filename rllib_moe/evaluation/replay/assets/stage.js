// The stage: the screen in color with the nodes on it, or the graph drawn by itself.

const ASPECT = 1.85, SHARE_OF_WINDOW = 0.52;
const MOST_NAMED = 14; // nodes of a graph whose names all find room
const MONO = '"DejaVu Sans Mono", ui-monospace, Menlo, Consolas, "Liberation Mono", monospace';

function prepareCanvas(canvas, width, height) {
  const ratio = Math.max(1, window.devicePixelRatio);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

// The explored part of the map, between the lines of text that stand above and below it.
class Screen {
  constructor(canvas, data) {
    this.canvas = canvas;
    this.data = data;
    const [first, end] = data.crop.lines, [height] = data.crop.size;
    this.above = Math.min(first, height);
    this.below = Math.max(0, height - end);
    canvas.hidden = false;
  }

  resize(width) {
    this.width = width;
    this.textWidth = Math.min(9, width / (this.data.crop.size[1] + 1));
    const textHeight = this.textWidth * ASPECT, texts = (this.above + this.below) * textHeight;
    // As wide as there is room, yet not so tall that the timeline is off the window.
    const tall = SHARE_OF_WINDOW * window.innerHeight - texts;
    this.fit = ([, , rows, columns]) => Math.min(18, width / (columns + 1), Math.max(8.5, tall / (rows + 1) / ASPECT));
    this.mapTop = (this.above + 0.25) * textHeight;
    this.bottom = this.mapTop + Math.max(...this.data.crop.boxes.map((box) => box[2] * this.fit(box) * ASPECT));
    this.pen = prepareCanvas(this.canvas, width, this.bottom + (this.below + 0.5) * textHeight);
  }

  draw(step) {
    const pen = this.pen, [, end] = this.data.crop.lines, box = this.data.crop.boxes[step], lines = this.data.screens[step];
    const [top, left, rows, columns] = box;
    this.corner = [top, left];
    this.cellWidth = this.fit(box);
    this.cellHeight = this.cellWidth * ASPECT;
    this.left = (this.width - columns * this.cellWidth) / 2;
    this.top = (this.mapTop + this.bottom - rows * this.cellHeight) / 2;
    pen.fillStyle = GROUND;
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (let row = 0; row < rows; row++) {
      this.drawLine(lines[top + row], this.left, this.top + row * this.cellHeight, this.cellWidth, left, left + columns);
    }
    const w = this.textWidth, h = w * ASPECT;
    for (let row = 0; row < this.above; row++) this.drawLine(lines[row], w / 2, (row + 0.25) * h, w);
    for (let row = 0; row < this.below; row++) this.drawLine(lines[end + row], w / 2, this.bottom + (row + 0.25) * h, w);
  }

  drawLine(shown, x, y, w, from = 0, to = Infinity) {
    if (!shown) return;
    const pen = this.pen, h = w * ASPECT, [text, colors] = shown;
    pen.font = `${h * 0.76}px ${MONO}`;
    for (let column = from; column < Math.min(text.length, to); column++) {
      const inverse = INVERSE.indexOf(colors[column]), at = x + (column - from) * w;
      if (text[column] === " " && inverse < 0) continue;
      if (inverse >= 0) {
        pen.fillStyle = TERMINAL[inverse];
        pen.fillRect(at, y, w + 0.5, h + 0.5);
      }
      pen.fillStyle = inverse >= 0 ? GROUND : TERMINAL[CODES.indexOf(colors[column])];
      pen.fillText(text[column], at + w / 2, y + h / 2);
    }
  }

  place([row, column]) {
    const [top, left] = this.corner;
    return [this.left + (column - left + 0.5) * this.cellWidth, this.top + (row - top + 0.5) * this.cellHeight];
  }

  // Frames around the nodes' cells, and rays from the ego node as wide as its attention.
  drawNodes(nodes, attention, names, withEdges) {
    const pen = this.pen, w = this.cellWidth, h = this.cellHeight;
    const places = nodes.cells.map((cell) => this.place(cell));
    if (!places.length) return;
    pen.lineCap = "round";
    if (withEdges) {
      pen.strokeStyle = "rgba(160, 170, 190, 0.35)";
      pen.lineWidth = 1;
      for (const [i, j, type] of nodes.edges) {
        pen.setLineDash(dashes(type));
        line(pen, places[i], places[j]);
      }
      pen.setLineDash([]);
    }
    if (!attention) return;
    const order = attention.map((_, i) => i).sort((a, b) => attention[a] - attention[b]);
    for (const i of order) {
      const strength = Math.sqrt(attention[i]);
      pen.globalAlpha = 0.18 + 0.82 * strength;
      pen.strokeStyle = LIT;
      if (i > 0) {
        pen.lineWidth = 0.5 + 5 * attention[i];
        line(pen, places[0], places[i]);
      }
      pen.fillStyle = LIT;
      pen.globalAlpha *= 0.3;
      pen.fillRect(places[i][0] - w / 2 - 1, places[i][1] - h / 2, w + 2, h);
      pen.globalAlpha = 0.3 + 0.7 * strength;
      pen.lineWidth = 1.2;
      pen.strokeRect(places[i][0] - w / 2 - 1.5, places[i][1] - h / 2 + 0.5, w + 3, h - 1);
    }
    pen.globalAlpha = 1;
    const labeled = order.reverse().filter((i) => i > 0 && attention[i] >= 0.04).slice(0, 5);
    this.drawLabels(labeled.map((i) => [places[i], `${words(names[nodes.types[i]])} ${Math.round(100 * attention[i])} %`]), places[0]);
  }

  // Each label beside its node where it covers neither the hero, nor a labeled node, nor another label; else it is left out.
  drawLabels(labels, hero) {
    const pen = this.pen, w = this.cellWidth, h = this.cellHeight, size = Math.min(14, Math.max(10, h * 0.52)), tall = 0.7 * size;
    pen.font = `600 ${size}px system-ui, "DejaVu Sans", sans-serif`;
    const taken = [[...hero, w, h], ...labels.map(([[x, y]]) => [x, y, w / 2, h / 2])];
    for (const [[x, y], text] of labels) {
      const half = pen.measureText(text).width / 2 + 4, side = w / 2 + half + 3, up = h / 2 + tall + 2;
      const around = [[0, -up], [0, up], [side, 0], [-side, 0], [side, -up], [-side, -up], [side, up], [-side, up], [0, -2 * up], [0, 2 * up]];
      const spot = around.map(([dx, dy]) => [x + dx, y + dy]).find(([u, v]) =>
        u - half >= 0 && u + half <= this.width && v - tall >= 0 && v + tall <= this.bottom + h / 2 &&
        !taken.some(([a, b, c, d]) => Math.abs(u - a) < half + c && Math.abs(v - b) < tall + d));
      if (!spot) continue;
      taken.push([...spot, half, tall]);
      pen.fillStyle = "rgba(12, 14, 17, 0.82)";
      pen.fillRect(spot[0] - half, spot[1] - tall, 2 * half, 2 * tall);
      pen.fillStyle = LIT;
      pen.fillText(text, spot[0], spot[1] + 1);
    }
  }
}

// The graph by itself, for nodes without a place: the ego node in the middle, the others around it.
class GraphView {
  constructor(canvas, data) {
    this.canvas = canvas;
    this.data = data;
    canvas.hidden = false;
  }

  resize(width) {
    this.width = Math.min(width, 620);
    this.height = 440;
    this.pen = prepareCanvas(this.canvas, this.width, this.height);
  }

  draw(nodes, attention, withEdges) {
    const pen = this.pen, count = nodes.types.length, middle = [this.width / 2, this.height / 2];
    const colors = { text: css("--text"), muted: css("--muted"), accent: css("--accent"), panel: css("--panel") };
    pen.clearRect(0, 0, this.width, this.height);
    const places = nodes.types.map((_, i) => {
      const angle = (2 * Math.PI * (i - 1)) / Math.max(1, count - 1) - Math.PI / 2;
      return i === 0 ? middle : [middle[0] + Math.cos(angle) * this.width * 0.34, middle[1] + Math.sin(angle) * this.height * 0.37];
    });
    pen.strokeStyle = colors.muted;
    pen.lineWidth = 1;
    for (const [i, j, type] of withEdges ? nodes.edges : []) {
      pen.setLineDash(dashes(type));
      line(pen, places[i], places[j]);
    }
    pen.setLineDash([]);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.font = '12px system-ui, "DejaVu Sans", sans-serif';
    const shares = nodes.types.map((_, i) => (attention ? attention[i] : 0));
    pen.strokeStyle = colors.accent;
    shares.forEach((share, i) => {
      if (i === 0 || share === 0) return;
      pen.globalAlpha = 0.3 + 0.7 * Math.sqrt(share);
      pen.lineWidth = 1 + 11 * share;
      line(pen, middle, places[i]);
    });
    shares.forEach((share, i) => {
      pen.beginPath();
      pen.arc(...places[i], 9 + 16 * Math.sqrt(share), 0, 2 * Math.PI);
      pen.globalAlpha = 1;
      pen.fillStyle = colors.panel;
      pen.fill();
      pen.globalAlpha = 0.1 + 0.9 * share;
      pen.fillStyle = colors.accent;
      pen.fill();
      pen.globalAlpha = 1;
      pen.lineWidth = i === 0 ? 3 : 1.2;
      pen.strokeStyle = i === 0 ? colors.text : colors.accent;
      pen.stroke();
      if (count > MOST_NAMED && i > 0 && share < 0.04) return;
      // Names stand outside the ring, where no ray crosses them.
      const side = i === 0 || places[i][1] >= middle[1] ? 1 : -1;
      const text = words(this.data.node_types[nodes.types[i]]) + (attention ? ` ${percent(share)} %` : "");
      pen.strokeStyle = colors.panel; // a rim, where an edge passes
      pen.lineWidth = 4;
      pen.strokeText(text, places[i][0], places[i][1] + side * (22 + 16 * Math.sqrt(share)));
      pen.fillStyle = colors.text;
      pen.fillText(text, places[i][0], places[i][1] + side * (22 + 16 * Math.sqrt(share)));
    });
  }
}

// Edges of the first type are drawn solid, each further type in longer dashes.
function dashes(type) { return type === 1 ? [] : [2 + 3 * (type - 2), 4]; }

function line(pen, from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}
