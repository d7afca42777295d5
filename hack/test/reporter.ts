import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';

/** mocha's spec reporter, which also leaves its totals in the file named by TULLE_TEST_TOTALS. */
export default class SpecWithTotals extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    runner.once('end', () => {
      const file = process.env.TULLE_TEST_TOTALS;
      const { passes, failures, pending } = this.stats;
      if (file !== undefined)
        writeFileSync(file, JSON.stringify({ passed: passes, failed: failures, skipped: pending }));
    });
  }
}
