/** Reports what a step is doing right now; shown beside its title. */
export type Report = (text: string) => void;

const started = Date.now();
let number = 0;

/**
 * Runs one step of a longer job and prints its title, its time and its outcome.
 * On a terminal the line is kept up to date; elsewhere a line opens the step and one closes it.
 */
export async function step<T>(title: string, work: (report: Report) => Promise<T>): Promise<T> {
  number += 1;
  const label = `${String(number).padStart(2)}. ${title}`;
  const begun = Date.now();
  const line = openLine(label);
  let doing = '';
  const ticker = process.stdout.isTTY
    ? setInterval(() => line.update(`${label} ${seconds(begun)}${doing}`), 200).unref()
    : undefined;
  try {
    const result = await work((text) => {
      doing = ` · ${text}`;
      line.update(`${label} ${seconds(begun)}${doing}`);
    });
    line.close(`✓ ${label} ${seconds(begun)}`);
    return result;
  } catch (err) {
    line.close(`✗ ${label} ${seconds(begun)}`);
    throw err;
  } finally {
    clearInterval(ticker);
  }
}

/** A line under the current step. */
export function note(text: string): void {
  if (process.stdout.isTTY) process.stdout.write('\r\u001b[2K'); // the step's own line is written again by itself
  for (const line of text.split('\n')) console.log(`      ${line}`);
}

/** Time since the job began, as m:ss. */
export function elapsed(): string {
  return clock(Date.now() - started);
}

/** Runs a job as a program: prints its error plainly and exits with 1, 130 when interrupted. */
export async function main(job: () => Promise<void>): Promise<void> {
  process.on('SIGINT', () => {
    console.error(
      '\ninterrupted: what is built is kept for the next run; `make cluster-down` removes a cluster that is up',
    );
    process.exit(130);
  });
  try {
    await job();
  } catch (err) {
    console.error(`\nerror: ${err instanceof Error ? err.message : String(err)}`);
    if (process.env.TULLE_TRACE !== undefined && err instanceof Error) console.error(err.stack);
    process.exit(1);
  }
}

function seconds(since: number): string {
  return `(${((Date.now() - since) / 1000).toFixed(1)} s)`;
}

function clock(ms: number): string {
  const total = Math.round(ms / 1000);
  return `${Math.floor(total / 60)}:${String(total % 60).padStart(2, '0')}`;
}

function openLine(label: string): { update(text: string): void; close(text: string): void } {
  if (!process.stdout.isTTY) {
    console.log(`  ${label} …`);
    let reported = Date.now();
    return {
      update: (text) => {
        if (Date.now() - reported < 10_000) return; // a log wants signs of life, not every one
        reported = Date.now();
        console.log(`    ${text}`);
      },
      close: (text) => console.log(text),
    };
  }
  const write = (text: string) => {
    const width = process.stdout.columns || 80;
    process.stdout.write(`\r\u001b[2K${text.slice(0, width - 1)}`);
  };
  write(`  ${label}`);
  return { update: (text) => write(`  ${text}`), close: (text) => process.stdout.write(`\r\u001b[2K${text}\n`) };
}
