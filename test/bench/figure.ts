/** One measured figure. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  /** Of `value` and `baseline`: s, ms, B, … */
  readonly unit: string;
  /** The same job done the other way, measured in the same run; null when there is none. */
  readonly baseline: number | null;
  /** What the baseline is, in words. */
  readonly against: string;
  /** `value` as a share of `baseline`; null without one. */
  readonly ratio: number | null;
  /** What `ratio` (or `value`, without a baseline) should be at most; null when nothing was agreed. */
  readonly goal: number | null;
}

export function figure(
  name: string,
  unit: string,
  value: number,
  options: { readonly baseline?: number; readonly against?: string; readonly goal?: number } = {},
): Figure {
  const { baseline, against = '', goal } = options;
  return {
    name,
    value: round(value),
    unit,
    baseline: baseline === undefined ? null : round(baseline),
    against,
    ratio: baseline === undefined ? null : round(value / baseline),
    goal: goal ?? null,
  };
}

/** The figures as a table for a terminal. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map(({ name, value, unit, baseline, ratio, goal, against }) => [
    name,
    `${value} ${unit}`,
    baseline === null ? '-' : `${baseline} ${unit}`,
    ratio === null ? '-' : `${ratio}`,
    goal === null ? '-' : `≤ ${goal}`,
    against,
  ]);
  const all = [['figure', 'value', 'baseline', 'ratio', 'goal', 'baseline is'], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n');
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
