import type { Command } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import type { Surroundings } from './surroundings.ts';

export const version: string = packageJson.version;

/** `tulle version`: of this program, without asking a cluster. */
export function addVersion(program: Command, { write }: Surroundings): void {
  program
    .command('version')
    .description('print the version of this program')
    .action(() => write(`tulle ${version}\n`));
}
