type End = () => unknown;

const ofTest: End[] = [];
const ofFile: End[] = [];

/** Called after the test, the last first. */
export function afterwards(end: End): void {
  ofTest.push(end);
}

/** Called when the test file is over, the last first. */
export function atFileEnd(end: End): void {
  ofFile.push(end);
}

/** What `test/support/setup.ts` calls after each test. */
export async function endTest(): Promise<void> {
  await endAll(ofTest);
}

/** What `test/support/setup.ts` calls after each file. */
export async function endFile(): Promise<void> {
  await endAll(ofFile);
}

async function endAll(ends: End[]): Promise<void> {
  const errors: unknown[] = [];
  for (let end = ends.pop(); end; end = ends.pop()) {
    try {
      await end();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
