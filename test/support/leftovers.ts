type End = () => unknown;

const ofTest: End[] = [];
const ofFile: End[] = [];

/** Registers a function to call after the test. The last registered is called first. */
export function afterwards(end: End): void {
  ofTest.push(end);
}

/** Registers a function to call after the test file. The last registered is called first. */
export function atFileEnd(end: End): void {
  ofFile.push(end);
}

/** Called by `test/support/setup.ts` after each test. */
export async function endTest(): Promise<void> {
  await endAll(ofTest);
}

/** Called by `test/support/setup.ts` after each file. */
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
