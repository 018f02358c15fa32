import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "out/"] },
  js.configs.recommended,
  {
    files: ["src/**/*.ts", "test/**/*.ts", "test-editor/**/*.{ts,mts}", "webview/**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
  },
  { files: ["*.mjs"], languageOptions: { globals: { process: "readonly" } } },
);
