/** Keeps what the code under test prints on the console out of the test report. */
export function quietly(): void {
  const { log } = console;
  before(() => {
    console.log = () => {};
  });
  after(() => {
    console.log = log;
  });
}
