// The panels beside the stage: one step in numbers and bars.

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
      name.append(`expert ${k}`);
      const fill = element("div", "fill", element("div", "rail", row));
      fill.style.background = data.colors[k];
      return { row, fill, figure: element("span", "figure", row) };
    });
    this.numbers = ["value", "reward", "return", "score", "gate entropy", ...Object.keys(data.measures)].map((name) => {
      const pair = element("div", "", document.getElementById("numbers"));
      element("dt", "", pair, name.replaceAll("_", " "));
      return element("dd", "", pair);
    });
    this.flags = data.scene_names.map((name) => element("span", "flag", document.getElementById("scene"), name.replaceAll("_", " ")));
    const actions = document.getElementById("actions");
    const head = element("div", "action head", actions);
    element("span", "name", head, "action");
    element("span", "", head);
    element("span", "figure", head, "%");
    const titles = element("span", "cells", head);
    data.gate[0].forEach((_, k) => { element("span", "cell", titles, String(k)).style.color = data.colors[k]; });
    this.actions = data.actions.map((name) => {
      const row = element("div", "action", actions);
      element("span", "name", row, name.replaceAll("_", " ")).title = name;
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
    const values = [data.value[step].toFixed(3), signed(data.reward[step]), this.returns[step].toFixed(3),
      short(data.score[step]), `${entropy.toFixed(2)} nats`,
      ...Object.values(data.measures).map((each) => each[step] === null ? "–" : Number.isInteger(each[step]) ? String(each[step]) : short(each[step]))];
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
        part.parentElement.title = `expert ${k} alone: ${percent(own)} %`;
      });
    });
    this.drawNodes(step, attention);
    document.getElementById("message").textContent = data.messages[data.message[step]];
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
    for (const i of order.slice(0, 8)) {
      const row = element("div", "node", list);
      element("span", "name", row, this.data.node_types[nodes.types[i]].replaceAll("_", " "));
      const far = nodes.distances[i];
      element("span", "far", row, i === 0 ? "itself" : far < 0 ? "out of reach" : `${far} ${far === 1 ? unit.replace(/s$/, "") : unit}`);
      element("div", "fill", element("div", "rail", row)).style.width = `${100 * attention[i]}%`;
      element("span", "figure", row, percent(attention[i]));
    }
    if (order.length > 8) {
      const rest = order.slice(8).reduce((sum, i) => sum + attention[i], 0);
      const row = element("div", "node", list);
      element("span", "far", row, `${order.length - 8} more`);
      element("span", "", row);
      element("div", "fill", element("div", "rail", row)).style.width = `${100 * rest}%`;
      element("span", "figure", row, percent(rest));
    }
  }
}

function signed(value) { return `${value > 0 ? "+" : ""}${value.toFixed(3)}`; }
