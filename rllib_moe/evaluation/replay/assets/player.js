// The player: which step is shown, and everything that changes it.

const SPEEDS = [1, 2, 4, 8, 16, 32];

async function readRecording() {
  const text = document.getElementById("recording").textContent.trim();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

class Player {
  constructor(data) {
    this.data = data;
    this.step = 0;
    this.isPlaying = false;
    const hasPlaces = data.nodes.some((nodes) => nodes.cells);
    this.screen = data.screens.length ? new Screen(byId("screen"), data) : null;
    this.graph = hasPlaces && this.screen ? null : new GraphView(byId("graph"), data);
    this.panels = new Panels(data);
    this.timeline = new Timeline(byId("track"), data, (step) => { this.pause(); this.show(step); });
    byId("slider").max = data.action.length - 1;
    // A message that stands on the screen already is for those who hear the page.
    const isOnScreen = (message, step) => data.screens[step]?.some(([text]) => text.includes(message.trim()));
    byId("message").classList.toggle("unseen", data.message.every((message, step) => !message || isOnScreen(message, step)));
    for (let head = -1; head < data.num_heads; head++) byId("head").append(new Option(head < 0 ? "mean" : head, head));
    const usual = window.matchMedia("(prefers-reduced-motion: reduce)").matches ? 1 : 8;
    for (const speed of SPEEDS) byId("speed").append(new Option(`${speed} step${speed > 1 ? "s" : ""}/s`, speed, speed === usual, speed === usual));
    this.showEdgeTypes();
    this.listen();
    this.layOut();
  }

  // A graph by itself shows its edges from the start, as long as they are few; their types are explained where there are several.
  showEdgeTypes() {
    const edges = this.data.nodes.flatMap((nodes) => nodes.edges);
    byId("show-edges").checked = this.graph !== null && edges.length <= 60 * this.data.nodes.length;
    const types = [...new Set(edges.map(([, , type]) => type))].sort((a, b) => a - b);
    for (const type of types.length > 1 ? types : []) {
      const made = element("span", "edge-type", byId("edge-types"));
      made.innerHTML = `<svg width="26" height="6" aria-hidden="true"><path d="M0 3H26" stroke="currentColor" stroke-dasharray="${dashes(type)}"/></svg>`;
      made.append(` ${words(this.data.edge_types[type - 1])}`);
    }
  }

  get last() { return this.data.action.length - 1; }

  listen() {
    const moves = { first: () => 0, back: () => this.step - 1, forward: () => this.step + 1, last: () => this.last };
    for (const [id, target] of Object.entries(moves)) {
      byId(id).addEventListener("click", () => { this.pause(); this.show(target()); });
    }
    byId("play").addEventListener("click", () => this.toggle());
    byId("slider").addEventListener("input", (event) => { this.pause(); this.show(Number(event.target.value)); });
    for (const id of ["show-attention", "show-edges", "head"]) byId(id).addEventListener("change", () => this.draw());
    // A click leaves no focus behind, so that the space bar plays; detail is 0 where the click came from a key.
    document.addEventListener("click", (event) => event.detail && event.target.matches("button, input") && event.target.blur());
    document.addEventListener("keydown", (event) => this.onKey(event));
    window.addEventListener("resize", () => this.layOut());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.layOut());
    byId("theme").addEventListener("click", () => {
      const next = { auto: "light", light: "dark", dark: "auto" }[document.documentElement.dataset.theme || "auto"];
      if (next === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      byId("theme").textContent = `theme: ${next}`;
      this.layOut();
    });
  }

  onKey(event) {
    // Who came to a button by keyboard means that button.
    if (event.key === " " && event.target.matches("button, input[type=checkbox]")) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLSelectElement) return;
    const far = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: () => this.step - far, ArrowRight: () => this.step + far, Home: () => 0, End: () => this.last,
      n: () => this.nextChange(),
    };
    const acts = {
      " ": () => this.toggle(), "+": () => this.changeSpeed(1), "-": () => this.changeSpeed(-1),
      a: () => byId("show-attention").click(),
    };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (moves[key]) { this.pause(); this.show(moves[key]()); } else if (acts[key]) acts[key](); else return;
    event.preventDefault();
  }

  // The next step at which another expert leads.
  nextChange() {
    const leader = leading(this.data.gate[this.step]);
    for (let step = this.step + 1; step <= this.last; step++) if (leading(this.data.gate[step]) !== leader) return step;
    return this.last;
  }

  changeSpeed(by) {
    const select = byId("speed");
    select.selectedIndex = Math.min(SPEEDS.length - 1, Math.max(0, select.selectedIndex + by));
  }

  toggle() { if (this.isPlaying) this.pause(); else this.play(); }

  play() {
    if (this.step === this.last) this.show(0);
    this.isPlaying = true;
    byId("step").setAttribute("aria-live", "off"); // not read aloud eight times a second
    byId("play").textContent = "⏸ pause";
    byId("play").setAttribute("aria-label", "Pause");
    let before = performance.now(), due = 0;
    const tick = (now) => {
      if (!this.isPlaying) return;
      due += ((now - before) / 1000) * Number(byId("speed").value);
      before = now;
      if (due >= 1) {
        const whole = Math.min(Math.floor(due), 4);  // a tab that slept goes on where it was
        due = whole === 4 ? 0 : due - whole;
        this.show(this.step + whole);
        if (this.step === this.last) this.pause();
      }
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  pause() {
    this.isPlaying = false;
    byId("step").setAttribute("aria-live", "polite");
    byId("play").textContent = "▶ play";
    byId("play").setAttribute("aria-label", "Play");
  }

  show(step) {
    this.step = Math.min(this.last, Math.max(0, step));
    this.draw();
  }

  layOut() {
    const width = byId("stage").clientWidth;
    if (!width) return;  // nothing is shown, as while a tab is put away
    if (this.screen) this.screen.resize(this.graph ? width / 2 : width);
    if (this.graph) this.graph.resize(this.screen ? width / 2 : width);
    this.timeline.resize(byId("timeline").clientWidth - 20);
    this.draw();
  }

  attention() {
    const heads = this.data.nodes[this.step].attention, chosen = Number(byId("head").value);
    if (!heads.length) return null;
    if (chosen >= 0) return heads[chosen];
    return heads[0].map((_, i) => heads.reduce((sum, head) => sum + head[i], 0) / heads.length);
  }

  draw() {
    const nodes = this.data.nodes[this.step], attention = this.attention();
    const shown = byId("show-attention").checked ? attention : null, withEdges = byId("show-edges").checked;
    if (this.screen) {
      this.screen.draw(this.step);
      if (nodes.cells) this.screen.drawNodes(nodes, shown, this.data.node_types, withEdges);
    }
    if (this.graph) this.graph.draw(nodes, shown, withEdges);
    this.panels.draw(this.step, attention);
    this.timeline.draw(this.step);
    byId("slider").value = this.step;
    byId("step").textContent = `step ${this.step} of ${this.last}`;
    byId("slider").setAttribute("aria-valuetext", byId("step").textContent);
    document.body.dataset.step = this.step;
  }
}

function byId(id) { return document.getElementById(id); }

readRecording().then((data) => new Player(data)).catch((error) => {
  byId("problem").hidden = false;
  byId("problem").textContent = "DecompressionStream" in window
    ? `This page is damaged: ${error}` : "This browser is too old: it needs DecompressionStream (Chrome 80, Firefox 113, Safari 16.4).";
  console.error(error);
});
