// Validates an AsyncAPI document with the official parser. Arguments: folder with node_modules, document.
import { createRequire } from "node:module";

const [folder, document] = process.argv.slice(2);
const { Parser, fromFile } = createRequire(`${folder}/`)("@asyncapi/parser");
const { document: parsed, diagnostics } = await fromFile(new Parser(), document).parse();
// 0 is an error, 1 a warning; the rest are hints.
const problems = diagnostics.filter(({ severity }) => severity < 2);
for (const { path, message } of problems) console.error(`${path.join(".")}: ${message}`);
process.exit(parsed && problems.length === 0 ? 0 : 1);
