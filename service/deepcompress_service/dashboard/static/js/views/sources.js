/** The chart by data source of a run: one line for each data source, of one figure at a time. */

import { segments, visible } from "../dom.js";
import { LineChart } from "../charts/line.js";
import { filter, setFilter } from "../address.js";
import { count } from "../format.js";
import { METRICS } from "../steps.js";

/** `value` of a data source in a step: [groups, pass ratio, mean tokens, truncated share], and its mean reward. */
const FIGURES = {
  pass_ratio: { label: "Pass ratio", like: "pass_ratio", value: (one) => one[1] },
  tokens: { label: "Tokens", like: "tokens", value: (one) => one[2] },
  truncated: { label: "Truncated", like: "truncated", value: (one) => one[3] },
  reward: { label: "Reward", like: "reward", value: (one, reward) => reward },
};
const own = (values, name) => (values !== undefined && Object.hasOwn(values, name) ? values[name] : undefined);

export class SourceChart extends LineChart {
  constructor(run, smooth, zoom) {
    const figure = filter("source", Object.keys(FIGURES), "pass_ratio");
    super({
      title: "By data source",
      hint: "The last 500 steps; rewards are those that this replica computed. Press a name to hide or show its line.",
      file: run,
      wide: true,
      zoom,
      series: [],
      nothing: "No value of these data sources in these steps.",
      more: (row) => Object.entries(row.sources ?? {}).map(([name, one]) => [visible(name), `${count(one[0])} groups`]),
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
        value: (row) => {
          const one = own(row.sources, name);
          return one && value(one, own(row.source_rewards, name));
        },
      })),
    );
    super.update(rows);
  }
}
