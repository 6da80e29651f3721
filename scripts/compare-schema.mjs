// Prints the JSON Schema of the document of `reprise compare --json`.
import { comparisonJsonSchema } from '../src/cli/compare-schema.ts';

process.stdout.write(`${JSON.stringify(comparisonJsonSchema(), null, 2)}\n`);
