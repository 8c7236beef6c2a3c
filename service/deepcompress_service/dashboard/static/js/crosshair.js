/** One step read in all charts of a page: what a pointer or a key picks in one chart is marked in the others. */

/** `charts`: line charts. The chart picked last decides; when it picks nothing, nothing is marked. */
export function shareCrosshair(charts) {
  let source = null;
  for (const chart of charts) {
    chart.picks = (step) => {
      if (step === null && chart !== source) return;
      source = step === null ? null : chart;
      for (const other of charts) if (other !== chart) other.mark(step);
    };
  }
}
