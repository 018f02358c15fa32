-- Midfill for Neovim 0.12 and newer, whose own vim.lsp.inline_completion shows the ghost text.
-- With this folder's parent on the runtime path: vim.lsp.enable('midfill'). See the README beside it.
return {
  cmd = { 'midfill', 'serve' },
  -- No file types are named, so it starts for every one: Midfill completes any text.
  root_markers = { 'midfill.toml', '.git' },
}
