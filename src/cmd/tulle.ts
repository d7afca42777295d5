/** Entry point of the command line. Exit code 1: it failed, and standard error says why. */
import { failureText } from '../cli/failure.ts';
import { tulleProgram } from '../cli/program.ts';

const program = tulleProgram({
  env: process.env,
  write: (text) => void process.stdout.write(text),
  now: Date.now,
});

program.parseAsync().catch((error: unknown) => {
  process.stderr.write(failureText(error));
  process.exitCode = 1;
});
