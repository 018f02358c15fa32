-- A window over the text, for what is to be read and sent away again: `q` or `<Esc>`.
local M = {}

--- Open it. Returns a function that puts lines in place of what it holds, and the buffer.
---@param title string
---@param filetype string
---@param footer string? what can be done in it
---@return fun(text: string), integer
function M.open(title, filetype, footer)
  local bufnr = vim.api.nvim_create_buf(false, true)
  vim.bo[bufnr].bufhidden = 'wipe'
  vim.bo[bufnr].filetype = filetype
  local width = math.max(20, math.min(100, vim.o.columns - 4))
  local window = vim.api.nvim_open_win(bufnr, true, {
    relative = 'editor',
    row = 1,
    col = math.floor((vim.o.columns - width) / 2),
    width = width,
    height = 1,
    style = 'minimal',
    border = 'rounded',
    title = ' ' .. title .. ' ',
    footer = footer,
    footer_pos = footer and 'right',
  })
  vim.wo[window].wrap, vim.wo[window].linebreak, vim.wo[window].conceallevel = true, true, 2
  for _, key in ipairs({ 'q', '<Esc>' }) do
    vim.keymap.set('n', key, '<Cmd>close<CR>', { buffer = bufnr, nowait = true })
  end
  return function(text)
    if not vim.api.nvim_buf_is_valid(bufnr) then
      return
    end
    local lines = vim.split(text, '\n', { plain = true })
    vim.bo[bufnr].modifiable = true
    vim.api.nvim_buf_set_lines(bufnr, 0, -1, false, lines)
    vim.bo[bufnr].modifiable = false
    if vim.api.nvim_win_is_valid(window) then
      vim.api.nvim_win_set_height(window, math.max(1, math.min(#lines, vim.o.lines - 6)))
    end
  end,
    bufnr
end

return M
