// custom.mjs NODE_DIRECTORY <resources.json: holds custom resources against the schemas that npm packages ship.
// Prints a line for each resource: `ok KIND NAME`, `unknown KIND NAME` where no package knows it, or `bad KIND NAME WHY`.
import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const modules = path.join(path.resolve(process.argv[2]), "node_modules");
const packages = {
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "cert-manager.io": "@kubernetes-models/cert-manager",
};

for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${resource.kind} ${resource.metadata.name}`;
  const [group, version] = resource.apiVersion.split("/");
  const models = packages[group];
  if (models === undefined) {
    console.log(`unknown ${name}`);
    continue;
  }
  try {
    const file = path.join(modules, models, group, version, `${resource.kind}.js`);
    const { [resource.kind]: Model } = await import(pathToFileURL(file));
    new Model(resource).validate();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`bad ${name} ${error.message}`);
  }
}
