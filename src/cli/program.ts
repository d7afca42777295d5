import { Command } from 'commander';
import { addStatus } from './status.ts';
import type { Surroundings } from './surroundings.ts';
import { addVersion, version } from './version.ts';

/** The command line `tulle`, also run as `kubectl tulle`. */
export function tulleProgram(surroundings: Surroundings): Command {
  const program = new Command('tulle')
    .description('Tulle, an ambient service mesh: what it secures, and why not')
    .option('--kubeconfig <file>', 'the kubeconfig to use instead of KUBECONFIG or ~/.kube/config')
    .option('--context <name>', 'the context of the kubeconfig to use instead of the current one')
    .version(version)
    .showHelpAfterError('(tulle --help shows what there is)');
  addVersion(program, surroundings);
  addStatus(program, surroundings);
  return program;
}
