// The panels beside the stage: one step in numbers and bars.

const MOST_NODES = 8; // listed one by one

function element(tag, classes, parent, text) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function percent(share) { return share === 0 ? "0" : share < 0.001 ? "<0.1" : (100 * share).toFixed(share < 0.0995 ? 1 : 0); }

class Panels {
  constructor(data) {
    this.data = data;
    this.experts = data.gate[0].map((_, k) => {
      const row = element("div", "bar", document.getElementById("experts"));
      const name = element("span", "name", row);
      element("span", "swatch", name).style.background = data.colors[k];
      name.append(data.experts[k]);
      name.title = data.experts[k];
      const fill = element("div", "fill", element("div", "rail", row));
      fill.style.background = data.colors[k];
      return { row, fill, figure: element("span", "figure", row) };
    });
    const undecided = Math.log(data.gate[0].length).toFixed(2);
    const meanings = {
      score: "points, before the action", reward: "of the action", return: "rewards so far, undiscounted",
      value: "discounted return, expected", "alpha entropy": `nats: 0 one expert, ${undecided} undecided`,
      ...Object.fromEntries(Object.keys(data.measures).map((name) => [words(name), "before the action"])),
    };
    this.numbers = Object.entries(meanings).map(([name, meaning]) => {
      const pair = element("div", "", document.getElementById("numbers"));
      element("dt", "", pair, name);
      const number = element("dd", "", pair);
      element("dd", "meaning", pair, meaning);
      return number;
    });
    this.flags = data.scene_names.map((name) => element("span", "flag", document.getElementById("scene"), words(name)));
    const actions = document.getElementById("actions");
    const head = element("div", "action head", actions);
    element("span", "name", head, "action");
    element("span", "", head);
    element("span", "figure", head, "%");
    const titles = element("span", "cells", head);
    const areNamed = data.experts.some((name) => !name.startsWith("expert "));
    if (areNamed && data.experts.length <= 5) {
      actions.style.setProperty("--cell", "44px");
      head.classList.add("named");
    }
    data.experts.forEach((name, k) => {
      const title = element("span", "cell", titles);
      element("b", "", title, areNamed ? name : String(k));
      title.style.borderColor = data.colors[k];
      title.title = name;
    });
    this.actions = data.actions.map((name) => {
      const row = element("div", "action", actions);
      element("span", "name", row, words(name)).title = name;
      const fill = element("div", "fill", element("div", "rail", row));
      const figure = element("span", "figure", row);
      const cells = element("span", "cells", row);
      const parts = data.gate[0].map((_, k) => {
        const part = element("i", "", element("span", "cell", cells));
        part.style.background = data.colors[k];
        return part;
      });
      return { row, fill, figure, parts };
    });
    let total = 0;
    const most = Math.max(...data.nodes.map((nodes) => nodes.types.length));
    document.getElementById("nodes").style.minHeight = `${16.5 * Math.min(most, MOST_NODES + 1)}px`;
    this.returns = data.reward.map((reward) => { const before = total; total += reward; return before; });
  }

  draw(step, attention) {
    const data = this.data, gate = data.gate[step], leader = leading(gate);
    this.experts.forEach(({ row, fill, figure }, k) => {
      row.classList.toggle("leads", k === leader);
      fill.style.width = `${100 * gate[k]}%`;
      figure.textContent = `${percent(gate[k])} %`;
    });
    const entropy = gate.reduce((sum, share) => sum - (share > 0 ? share * Math.log(share) : 0), 0);
    const values = [short(data.score[step]), signed(data.reward[step]), fixed(this.returns[step]), fixed(data.value[step]),
      entropy.toFixed(2), ...Object.values(data.measures).map((each) => each[step] === null ? "–" : short(each[step]))];
    this.numbers.forEach((place, i) => { place.textContent = values[i]; });
    this.flags.forEach((flag, i) => flag.classList.toggle("on", data.scene[step].includes(i)));
    const legal = data.legal[step];
    this.actions.forEach(({ row, fill, figure, parts }, action) => {
      const share = data.probabilities[step][action];
      row.classList.toggle("taken", data.action[step] === action);
      row.classList.toggle("illegal", legal.length > 0 && !legal.includes(action));
      fill.style.width = `${100 * share}%`;
      figure.textContent = percent(share);
      parts.forEach((part, k) => {
        const own = data.expert_probabilities[step][k][action];
        part.style.width = `${100 * own}%`;
        part.parentElement.title = `${data.experts[k]} alone: ${percent(own)} %`;
      });
    });
    this.drawNodes(step, attention);
    document.getElementById("message").textContent = data.message[step] || "\u00a0"; // as high as one that says something
  }

  drawNodes(step, attention) {
    const list = document.getElementById("nodes"), nodes = this.data.nodes[step];
    const unit = this.data.distance_unit.split(" ")[0];
    list.replaceChildren();
    if (!attention) {
      element("span", "far", list, "This network takes the mean of the nodes: it has no attention.");
      return;
    }
    const order = attention.map((_, i) => i).sort((a, b) => attention[b] - attention[a]);
    for (const i of order.slice(0, MOST_NODES)) {
      const row = element("div", "node", list);
      element("span", "name", row, words(this.data.node_types[nodes.types[i]]));
      const far = nodes.distances[i];
      element("span", "far", row, i === 0 ? "itself" : far < 0 ? "out of reach" : `${far} ${far === 1 ? unit.replace(/s$/, "") : unit}`);
      element("div", "fill", element("div", "rail", row)).style.width = `${100 * attention[i]}%`;
      element("span", "figure", row, percent(attention[i]));
    }
    if (order.length > MOST_NODES) {
      const rest = order.slice(MOST_NODES).reduce((sum, i) => sum + attention[i], 0);
      const row = element("div", "node", list);
      element("span", "far", row, `${order.length - MOST_NODES} more`);
      element("span", "", row);
      element("div", "fill", element("div", "rail", row)).style.width = `${100 * rest}%`;
      element("span", "figure", row, percent(rest));
    }
  }
}

function words(name) { return name.replaceAll("_", " "); }
function fixed(value) { return value.toFixed(3).replace(/^-(?=[0.]+$)/, ""); } // no minus before a zero
function signed(value) { return `${value > 0 ? "+" : ""}${fixed(value)}`; }
