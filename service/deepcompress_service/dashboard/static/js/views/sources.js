/** The chart by data source of a run: one line for each data source, of one figure at a time. */

import { segments, visible } from "../dom.js";
import { LineChart } from "../charts/line.js";
import { filter, setFilter } from "../address.js";
import { count } from "../format.js";
import { METRICS } from "../steps.js";

const FIGURES = {
  pass_ratio: { label: "Pass ratio", like: "pass_ratio", value: (one) => one.pass_ratio },
  tokens: { label: "Tokens", like: "tokens", value: (one) => one.mean_tokens },
  truncated: { label: "Truncated", like: "truncated", value: (one) => one.truncated / one.rollouts },
  reward: { label: "Reward", like: "reward", value: (one) => one.mean_reward },
};

export class SourceChart extends LineChart {
  constructor(run, smooth, zoom) {
    const figure = filter("source", Object.keys(FIGURES), "pass_ratio");
    super({
      title: "By data source",
      hint: "Counted by this replica. Press a name to hide or show its line.",
      file: run,
      wide: true,
      zoom,
      series: [],
      nothing: "No value of these data sources in these steps.",
      more: (row) => Object.entries(row.sources ?? {}).map(([name, one]) => [visible(name), `${count(one.groups)} groups`]),
      tools: segments("Figure by data source", Object.entries(FIGURES).map(([key, one]) => [key, one.label]), figure, (value) => {
        setFilter("source", value, "pass_ratio");
        this.show(value);
      }),
    });
    this.smooth = smooth;
    this.figure = figure;
    this.root.hidden = true;
  }

  show(figure) {
    this.figure = figure;
    this.update(this.all);
  }

  /** Rows of steps, ascending. The chart is hidden until a step has a data source. */
  update(rows) {
    const names = [...new Set(rows.flatMap((row) => Object.keys(row.sources ?? {})))].sort();
    this.root.hidden = !names.length;
    const { like, value } = FIGURES[this.figure];
    const { format, axisFormat, domain, around } = METRICS[like];
    Object.assign(this.spec, { format, axisFormat, domain, around });
    this.setSeries(
      names.map((name, i) => ({
        key: name,
        label: visible(name),
        colour: `run-${i % 8}`,
        dashed: i >= 8,
        value: (row) => (row.sources !== undefined && Object.hasOwn(row.sources, name) ? value(row.sources[name]) : undefined),
      })),
    );
    super.update(rows);
  }
}
