// The stage: the screen in colour with the nodes on it, or the graph drawn by itself.

const ASPECT = 1.85, SHARE_OF_WINDOW = 0.52;
const MONO = '"DejaVu Sans Mono", ui-monospace, Menlo, Consolas, "Liberation Mono", monospace';

function prepareCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

// Every step's screen as numbers of lines, from the changes.
function wholeScreens(screens) {
  let shown = new Array(screens.height).fill(-1);
  return screens.changes.map((changes) => {
    shown = shown.slice();
    for (const [row, line] of changes) shown[row] = line;
    return shown;
  });
}

class Screen {
  constructor(canvas, data) {
    this.canvas = canvas;
    this.data = data;
    this.frames = wholeScreens(data.screens);
    canvas.hidden = false;
  }

  resize(width) {
    const { width: columns, height: rows } = this.data.screens;
    // As wide as there is room, yet not so tall that the timeline is off the window.
    const tall = (SHARE_OF_WINDOW * window.innerHeight) / (rows + 0.5) / ASPECT;
    this.cellWidth = Math.min(16, width / (columns + 1), Math.max(8.5, tall));
    this.cellHeight = this.cellWidth * ASPECT;
    this.left = this.cellWidth / 2;
    this.pen = prepareCanvas(this.canvas, this.cellWidth * (columns + 1), this.cellHeight * (rows + 0.5));
    this.top = this.cellHeight / 4;
  }

  draw(step) {
    const pen = this.pen, w = this.cellWidth, h = this.cellHeight;
    pen.fillStyle = GROUND;
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    pen.font = `${h * 0.76}px ${MONO}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    this.frames[step].forEach((number, row) => {
      if (number < 0) return;
      const [text, colours] = this.data.screens.lines[number];
      for (let column = 0; column < text.length; column++) {
        const inverse = INVERSE.indexOf(colours[column]);
        if (text[column] === " " && inverse < 0) continue;
        const x = this.left + column * w, y = this.top + row * h;
        if (inverse >= 0) {
          pen.fillStyle = TERMINAL[inverse];
          pen.fillRect(x, y, w + 0.5, h + 0.5);
        }
        pen.fillStyle = inverse >= 0 ? GROUND : TERMINAL[CODES.indexOf(colours[column])];
        pen.fillText(text[column], x + w / 2, y + h / 2);
      }
    });
  }

  place(cell) {
    return [this.left + (cell[1] + 0.5) * this.cellWidth, this.top + (cell[0] + 0.5) * this.cellHeight];
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
      for (const [i, j] of nodes.edges) {
        if (i === 0) continue;
        line(pen, places[i], places[j]);
      }
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
    pen.font = `600 ${Math.max(10, h * 0.52)}px system-ui, "DejaVu Sans", sans-serif`;
    const taken = [];
    for (const i of order.reverse().slice(0, 5)) {
      if (i === 0 || attention[i] < 0.04) continue;
      const text = `${names[nodes.types[i]].replaceAll("_", " ")} ${Math.round(100 * attention[i])} %`;
      const half = pen.measureText(text).width / 2 + 4, height = h * 0.8;
      const x = Math.min(Math.max(places[i][0], half + 2), this.cellWidth * (this.data.screens.width + 1) - half - 2);
      const y = places[i][1] + (places[i][1] > h * 2.6 ? -1 : 1) * h * 1.05;
      if (taken.some(([u, v, r]) => Math.abs(u - x) < r + half && Math.abs(v - y) < height)) continue;
      taken.push([x, y, half]);
      pen.fillStyle = "rgba(12, 14, 17, 0.82)";
      pen.fillRect(x - half, y - height / 2, 2 * half, height);
      pen.fillStyle = LIT;
      pen.fillText(text, x, y + 1);
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
    pen.fillStyle = GROUND;
    pen.fillRect(0, 0, this.width, this.height);
    const places = nodes.types.map((_, i) => {
      const angle = (2 * Math.PI * (i - 1)) / Math.max(1, count - 1) - Math.PI / 2;
      return i === 0 ? middle : [middle[0] + Math.cos(angle) * this.width * 0.34, middle[1] + Math.sin(angle) * this.height * 0.37];
    });
    for (const [i, j, type] of nodes.edges) {
      if (i > 0 && !withEdges) continue;
      pen.setLineDash(type === 1 ? [] : [2 + 2 * type, 4]);
      pen.strokeStyle = "rgba(160, 170, 190, 0.4)";
      pen.lineWidth = 1;
      line(pen, places[i], places[j]);
    }
    pen.setLineDash([]);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.font = '12px system-ui, "DejaVu Sans", sans-serif';
    nodes.types.forEach((type, i) => {
      const share = attention ? attention[i] : 0;
      if (i > 0 && share > 0) {
        pen.strokeStyle = LIT;
        pen.globalAlpha = 0.2 + 0.8 * Math.sqrt(share);
        pen.lineWidth = 0.5 + 9 * share;
        line(pen, middle, places[i]);
        pen.globalAlpha = 1;
      }
    });
    nodes.types.forEach((type, i) => {
      const share = attention ? attention[i] : 0;
      pen.beginPath();
      pen.arc(...places[i], 9 + 16 * Math.sqrt(share), 0, 2 * Math.PI);
      pen.fillStyle = "#1d2229";
      pen.fill();
      pen.globalAlpha = 0.15 + 0.6 * share;
      pen.fillStyle = LIT;
      pen.fill();
      pen.globalAlpha = 1;
      pen.lineWidth = i === 0 ? 2.5 : 1.2;
      pen.strokeStyle = i === 0 ? "#f4f6fa" : LIT;
      pen.stroke();
      // Names stand outside the ring, where no ray crosses them.
      const side = i === 0 || places[i][1] >= middle[1] ? 1 : -1;
      const text = this.data.node_types[type].replaceAll("_", " ") + (attention ? ` ${Math.round(100 * share)} %` : "");
      pen.fillStyle = "#e8eaee";
      pen.fillText(text, places[i][0], places[i][1] + side * (22 + 16 * Math.sqrt(share)));
    });
  }
}

function line(pen, from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}
