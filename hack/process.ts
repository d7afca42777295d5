import { spawn } from 'node:child_process';
import { openSync, readdirSync, readFileSync } from 'node:fs';

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Written to the command's standard input. */
  readonly input?: string | Buffer;
  /** Called with each line of standard output and standard error as it comes. */
  readonly onLine?: (line: string) => void;
  /** Milliseconds until the command is killed. */
  readonly timeoutMs?: number;
}

/** A command that ended otherwise than with exit status 0. */
export class CommandError extends Error {
  readonly output: string;

  constructor(command: string, ending: string, output: string) {
    const tail = output.trimEnd().split('\n').slice(-15).join('\n');
    super(`${command}\n${ending}${tail === '' ? '' : `:\n${tail}`}`);
    this.output = output;
  }
}

/** Runs a command to its end and returns its standard output; throws CommandError unless it exits with 0. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const all: Buffer[] = [];
  let partial = '';
  const note = (chunk: Buffer) => {
    all.push(chunk);
    if (options.onLine === undefined) return;
    const lines = (partial + chunk.toString()).split('\n');
    partial = lines.pop() ?? '';
    for (const line of lines) options.onLine(line);
  };
  child.stdout.on('data', (chunk: Buffer) => {
    stdout.push(chunk);
    note(chunk);
  });
  child.stderr.on('data', note);
  child.stdin.on('error', () => {}); // a command may end without reading its input
  child.stdin.end(options.input ?? '');
  const timer =
    options.timeoutMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), options.timeoutMs);
  try {
    const ending = await new Promise<string>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve(code === 0 ? '' : `ended with ${signal ?? `exit status ${code}`}`));
    });
    if (ending !== '') throw new CommandError([command, ...args].join(' '), ending, Buffer.concat(all).toString());
    return Buffer.concat(stdout).toString();
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a command of this name is on the PATH. */
export async function hasCommand(name: string): Promise<boolean> {
  return run('sh', ['-c', `command -v ${name}`]).then(
    () => true,
    () => false,
  );
}

export interface DaemonOptions {
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Starts a process that outlives this one, in a session of its own, and returns its id. */
export function startDaemon(command: string, args: readonly string[], options: DaemonOptions): number {
  const log = openSync(options.logFile, 'a');
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.on('error', () => {}); // reported by the missing pid below
  child.unref();
  if (child.pid === undefined) throw new Error(`${command} could not be started`);
  return child.pid;
}

/** The ids of all running processes whose environment holds the variable with exactly this value. */
export function processesWithVariable(name: string, value: string): number[] {
  const wanted = `${name}=${value}`;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(wanted) && isAlive(pid);
      } catch {
        return false; // ended meanwhile
      }
    });
}

/** Whether the process exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z';
  } catch {
    return false;
  }
}

/** Polls until the condition holds; throws after the limit with what was awaited. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  options: { readonly limitMs: number; readonly everyMs?: number; readonly explain?: () => string | Promise<string> },
): Promise<void> {
  const deadline = Date.now() + options.limitMs;
  for (;;) {
    if (await condition()) return;
    if (Date.now() > deadline) {
      const why = options.explain === undefined ? '' : `\n${await options.explain()}`;
      throw new Error(`${what}: not so after ${Math.round(options.limitMs / 1000)} s${why}`);
    }
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 100));
  }
}
