-- What is there without a setup: the command, and names for key maps.
if vim.g.loaded_midfill or vim.fn.has('nvim-0.10') == 0 then
  return
end
vim.g.loaded_midfill = true

vim.api.nvim_create_user_command('Midfill', function(call)
  require('midfill.command').run(call.fargs, call.line1, call.line2)
end, {
  nargs = '*',
  range = true,
  desc = 'Midfill: completions from a model on this machine',
  complete = function(head, line)
    return require('midfill.command').complete(head, line:match('Midfill.*') or '')
  end,
})

for _, action in ipairs({ 'accept', 'accept_word', 'accept_line', 'next', 'previous', 'dismiss', 'trigger' }) do
  local name = action:gsub('_', '-')
  vim.keymap.set('i', ('<Plug>(midfill-%s)'):format(name), function()
    require('midfill')[action]()
  end, { desc = 'Midfill: ' .. action:gsub('_', ' ') })
end
